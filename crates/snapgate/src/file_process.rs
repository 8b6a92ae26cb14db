//! Processes that read and write files for the gateway.
//!
//! A thread in an uninterruptible system call (storage that hangs, state `D` in ps(1)) cannot be killed, and its process
//! remains until the call returns, with all its sockets. So the gateway does not open the operator's files itself while
//! it serves. It asks another process, over a pair of sockets, where a thread that waits can be killed.
//!
//! The other process is the same program with other arguments. It ends when the gateway's end of the pair is closed.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::SigSet;

/// The program of this process, also after its file was replaced.
const PROGRAM: &str = "/proc/self/exe";

/// True if [`PROGRAM`] is `snapgate`, and not a program that calls its command line.
static IS_SNAPGATE: AtomicBool = AtomicBool::new(false);

/// Allows this process to start others. Only for the program `snapgate`.
pub(crate) fn allow() {
    IS_SNAPGATE.store(true, Ordering::Relaxed);
}

/// Starts this program with other arguments and streams.
pub(crate) fn spawn(
    arguments: &[&str],
    stdin: impl Into<Stdio>,
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> io::Result<Child> {
    if !IS_SNAPGATE.load(Ordering::Relaxed) {
        let text = "this program is not snapgate";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Command::new(PROGRAM)
        .arg0("snapgate")
        .args(arguments)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
}

/// Command of the program that serves requests.
pub(crate) const COMMAND: &str = "serve-files";

/// Maximum length of a message: a state file of 1 GiB and its header.
const MESSAGE_BYTES_MAX: u64 = (1 << 30) + 4096;

/// Tasks of such a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum FileTask {
    /// Reads and writes the state directory.
    State,
    /// Reads the identities file.
    Identities,
    /// Appends to the accounting log.
    Accounting,
}

impl FileTask {
    const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Identities => "identities",
            Self::Accounting => "accounting",
        }
    }
}

/// A process that answers requests one after the other. Drop waits for its end.
#[derive(Debug)]
pub(crate) struct FileProcess {
    child: Child,
    /// `None` when no more requests are sent.
    stream: Option<UnixStream>,
}

impl FileProcess {
    /// Starts a process.
    pub(crate) fn start(task: FileTask) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = spawn(
            &[COMMAND, task.name()],
            OwnedFd::from(theirs),
            Stdio::null(),
            Stdio::null(),
        )?;
        Ok(Self {
            child,
            stream: Some(ours),
        })
    }

    /// Requests an operation with its argument, and waits for the answer.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub(crate) fn ask(&mut self, operation: u8, argument: &[u8]) -> io::Result<Vec<u8>> {
        let ended = || io::Error::other("the process that accesses files has ended");
        let stream = self.stream.as_mut().ok_or_else(ended)?;
        send(stream, &[&[operation], argument]).map_err(|_| ended())?;
        receive(stream)?.ok_or_else(ended)
    }

    /// Ends the process without waiting for the answer to its last request.
    pub(crate) fn kill(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
    }
}

impl Drop for FileProcess {
    fn drop(&mut self) {
        self.stream = None;
        // Its locks are released when it has ended.
        let _ = self.child.wait();
    }
}

/// A process that is started again when it has ended.
#[derive(Debug)]
pub(crate) struct FileClient {
    task: FileTask,
    access: Access,
}

#[derive(Debug)]
enum Access {
    /// `None` after it has ended; the next request starts another one.
    Process(Option<FileProcess>),
    ThisThread,
}

impl FileClient {
    /// Uses a process for its task. Without one, the calling thread has to access the files.
    pub(crate) fn new(task: FileTask, process: Option<FileProcess>) -> Self {
        let access = match process {
            Some(process) => Access::Process(Some(process)),
            None => Access::ThisThread,
        };
        Self { task, access }
    }

    /// Requests an operation like [`FileProcess::ask`]. Returns `None` if the calling thread has to do it.
    ///
    /// # Errors
    ///
    /// The process has ended. The next call starts another one.
    pub(crate) fn ask(&mut self, operation: u8, argument: &[u8]) -> Option<io::Result<Vec<u8>>> {
        let Access::Process(process) = &mut self.access else {
            return None;
        };
        let answer = match process {
            Some(process) => process.ask(operation, argument),
            None => FileProcess::start(self.task)
                .and_then(|started| process.insert(started).ask(operation, argument)),
        };
        if answer.is_err() {
            *process = None;
        }
        Some(answer)
    }
}

/// Encodes an error for an answer: its errno (0: none) and its text.
pub(crate) fn encode_error(error: &io::Error) -> Vec<u8> {
    let errno = error.raw_os_error().unwrap_or(0);
    [&errno.to_le_bytes()[..], error.to_string().as_bytes()].concat()
}

/// Decodes the error in an answer.
pub(crate) fn decode_error(answer: &[u8]) -> io::Error {
    match answer.split_first_chunk() {
        Some((&errno, text)) => match i32::from_le_bytes(errno) {
            0 => io::Error::other(String::from_utf8_lossy(text).into_owned()),
            errno => io::Error::from_raw_os_error(errno),
        },
        None => io::ErrorKind::InvalidData.into(),
    }
}

/// Answers requests, each an operation and its argument, until the gateway's process ends.
///
/// # Errors
///
/// Standard input is not the gateway's socket, or signals cannot be blocked.
pub(crate) fn serve(mut answer: impl FnMut(u8, &[u8]) -> Vec<u8>) -> io::Result<()> {
    // A service manager sends them to every process of the service, and a terminal to every process in front. The
    // gateway's process decides when the last request is.
    SigSet::all().thread_block()?;
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    while let Some(request) = receive(&mut stream)? {
        let (operation, argument) = request.split_first().unwrap_or((&0, &[]));
        send(&mut stream, &[&answer(*operation, argument)])?;
    }
    Ok(())
}

/// Sends the parts as one message.
fn send(stream: &mut UnixStream, parts: &[&[u8]]) -> io::Result<()> {
    let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
    stream.write_all(&length.to_le_bytes())?;
    parts.iter().try_for_each(|part| stream.write_all(part))
}

/// Returns the next message, or `None` at the end of the stream.
fn receive(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u64::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = Vec::new();
    stream.take(length).read_to_end(&mut message)?;
    Ok((message.len() as u64 == length).then_some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_number_or_their_text() {
        let missing = io::Error::from(nix::errno::Errno::ENOENT);
        let decoded = decode_error(&encode_error(&missing));
        assert_eq!(decoded.kind(), io::ErrorKind::NotFound);
        let decoded = decode_error(&encode_error(&io::Error::other("text")));
        assert_eq!(decoded.to_string(), "text");
        assert_eq!(decode_error(b"x").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        for message in [&b"one"[..], b"", b"two"] {
            send(&mut ours, &[message]).unwrap();
        }
        drop(ours);
        let received: Vec<_> = std::iter::from_fn(|| receive(&mut theirs).unwrap()).collect();
        assert_eq!(received, [&b"one"[..], b"", b"two"]);
    }

    #[test]
    fn a_message_that_is_cut_off_is_the_end() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.write_all(&9_u64.to_le_bytes()).unwrap();
        ours.write_all(b"cut").unwrap();
        drop(ours);
        assert_eq!(receive(&mut theirs).unwrap(), None);
    }
}

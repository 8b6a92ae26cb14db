//! Standard input, output and error of `snapgate run`.
//!
//! A process with an open file on storage that hangs cannot end, because closing a file waits for storage as well. So
//! streams that are regular files are given to another process (see `file_process`), and replaced by `/dev/null` here.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::file_process::{self, FileProcess, FileTask};

/// Pause before another attempt when a stream is non-blocking and full.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Standard output and standard error.
pub(crate) struct StandardStreams {
    pub(crate) output: OutputStream,
    pub(crate) error: OutputStream,
    /// Reason why no process could be started for files.
    pub(crate) unprotected: Option<io::Error>,
}

/// A stream to write to.
pub(crate) enum OutputStream {
    /// Anything but a regular file.
    Descriptor(File),
    /// A regular file, written by another process.
    File {
        process: Arc<Mutex<FileProcess>>,
        /// Descriptor in that process.
        descriptor: u8,
    },
}

impl StandardStreams {
    /// Takes the streams of this process. After that, messages of the runtime about an aborting process are lost if
    /// standard error is a file.
    ///
    /// # Errors
    ///
    /// A stream is closed.
    pub(crate) fn take() -> io::Result<Self> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let are_files = (is_file(&stdout)?, is_file(&stderr)?);
        let mut streams = Self {
            output: OutputStream::of(&stdout)?,
            error: OutputStream::of(&stderr)?,
            unprotected: None,
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        if is_file(&stdin)? {
            rustix::stdio::dup2_stdin(&null)?;
        }
        if are_files == (false, false) {
            return Ok(streams);
        }
        let inherited = (Stdio::inherit(), Stdio::inherit());
        match FileProcess::start_with(FileTask::Output, inherited.0, inherited.1) {
            Ok(process) => {
                let process = Arc::new(Mutex::new(process));
                let by_process = |descriptor: i32| OutputStream::File {
                    process: Arc::clone(&process),
                    descriptor: u8::try_from(descriptor).unwrap_or_default(),
                };
                if are_files.0 {
                    streams.output = by_process(stdout.as_raw_fd());
                    rustix::stdio::dup2_stdout(&null)?;
                }
                if are_files.1 {
                    streams.error = by_process(stderr.as_raw_fd());
                    rustix::stdio::dup2_stderr(&null)?;
                }
            }
            Err(error) => streams.unprotected = Some(error),
        }
        Ok(streams)
    }
}

impl OutputStream {
    /// Does not use the locks of `io`, which a write that blocks would hold.
    fn of(stream: &impl AsFd) -> io::Result<Self> {
        let descriptor = stream.as_fd().try_clone_to_owned()?;
        Ok(Self::Descriptor(File::from(descriptor)))
    }

    /// Writes all of `text`, however long that takes.
    pub(crate) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Descriptor(file) => write_all(file, text),
            Self::File {
                process,
                descriptor,
            } => {
                let request = [&[*descriptor], text].concat();
                let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = process.ask(&request)?;
                match answer.try_into().map(i32::from_le_bytes) {
                    Ok(0) => Ok(()),
                    Ok(errno) => Err(io::Error::from_raw_os_error(errno)),
                    Err(_) => Err(io::ErrorKind::InvalidData.into()),
                }
            }
        }
    }
}

fn is_file(stream: &impl AsFd) -> io::Result<bool> {
    let file = File::from(stream.as_fd().try_clone_to_owned()?);
    Ok(file.metadata()?.is_file())
}

fn write_all(file: &mut File, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the pipe has made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes to standard output and standard error for another process, until that ends. A request is the descriptor and
/// the text; an answer is an errno, or 0.
///
/// # Errors
///
/// A stream is closed, or see [`file_process::serve`].
pub(crate) fn serve() -> io::Result<()> {
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    file_process::serve(|request| {
        let (descriptor, text) = request.split_first().unwrap_or((&0, &[]));
        let stream = if i32::from(*descriptor) == io::stdout().as_raw_fd() {
            &mut stdout
        } else {
            &mut stderr
        };
        let errno = match write_all(stream, text) {
            Ok(()) => 0,
            Err(error) => error
                .raw_os_error()
                .unwrap_or(rustix::io::Errno::IO.raw_os_error()),
        };
        errno.to_le_bytes().to_vec()
    })
}

//! A gateway whose outputs nobody reads.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::PATIENCE;
use crate::http::get;

/// Limit for a response to a probe: 2 s, and more on a busy machine. A server that waits for idle connections to
/// time out takes 10 s.
const PROBE_TIME: Duration = Duration::from_secs(6);

/// A running gateway, whose standard error was read until it served. It is killed when this is dropped.
pub(crate) struct Stalled {
    child: Child,
    log: BufReader<PipeReader>,
    pub(crate) listen: SocketAddr,
    pub(crate) metrics: SocketAddr,
    /// Nobody reads from it.
    _stdout: PipeReader,
}

impl Stalled {
    /// Starts a gateway; then nobody reads its standard error and standard output, and both pipes are full.
    pub(crate) fn start(mut command: Command) -> Self {
        let (stdout_reader, stdout) = std::io::pipe().unwrap();
        fill(&stdout_reader, stdout.try_clone().unwrap());
        let (log, stderr) = std::io::pipe().unwrap();
        let stderr_of_test = stderr.try_clone().unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        // Its copies of the pipes.
        drop(command);
        let mut log = BufReader::new(log);
        let listen = address_after(&mut log, "tunnels come in at ");
        let metrics = address_after(&mut log, "metrics are at http://");
        fill(log.get_ref(), stderr_of_test);
        Self {
            child,
            log,
            listen,
            metrics,
            _stdout: stdout_reader,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The status line and the text of a response, which has to come in time.
    pub(crate) fn probe(&self, path: &str) -> (String, String) {
        let start = Instant::now();
        let response = get(self.metrics, path);
        let took = start.elapsed();
        assert!(took < PROBE_TIME, "{path} took {took:?}");
        response
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.probe("/metrics");
        crate::http::sum(&text, name)
    }

    /// Reads standard error again until a line has `wanted`.
    pub(crate) fn read_log_until(&mut self, wanted: &str) {
        line_with(&mut self.log, wanted);
    }

    /// Waits until it ends.
    pub(crate) fn end(mut self) -> ExitStatus {
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line with `wanted`.
fn line_with(log: &mut BufReader<PipeReader>, wanted: &str) -> String {
    let mut said = String::new();
    loop {
        let start = said.len();
        assert!(log.read_line(&mut said).unwrap() > 0, "{said}");
        if said[start..].contains(wanted) {
            return said.split_off(start);
        }
    }
}

fn address_after(log: &mut BufReader<PipeReader>, wanted: &str) -> SocketAddr {
    let line = line_with(log, wanted);
    let (_, address) = line.split_once(wanted).unwrap();
    let end = address.find(|c: char| c.is_whitespace() || c == '/');
    address[..end.unwrap()].parse().unwrap()
}

/// Writes to a pipe until it is full. Whoever writes to it next has to wait.
fn fill(reader: &PipeReader, mut writer: PipeWriter) {
    let capacity = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    // Waits for room in the end, like the gateway.
    thread::spawn(move || while writer.write_all(b"\n").is_ok() {});
    wait_until("the pipe is full", || {
        rustix::io::ioctl_fionread(reader).unwrap() >= capacity as u64
    });
}

/// A service manager that does not read its notifications any more.
pub(crate) fn full_notify_socket(path: &std::path::Path) -> UnixDatagram {
    let manager = UnixDatagram::bind(path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"STATUS=full\n", path).is_ok() {}
    manager
}

/// Connections that send nothing.
pub(crate) fn idle_connections(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    (0..number)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect()
}

/// Waits for a condition.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

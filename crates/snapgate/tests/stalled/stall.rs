//! A gateway whose outputs are not read.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use testkit::{GatewayProcess, GatewaySetup, Metrics, wait_until};

/// Limit for a response to a probe: 2 s, and more on a busy machine. A server that waits for idle connections to time
/// out takes 10 s.
const PROBE_TIME: Duration = Duration::from_secs(6);

/// A running gateway whose outputs are not read: both pipes are full.
pub(crate) struct Stalled {
    pub(crate) process: GatewayProcess,
    log: BufReader<PipeReader>,
    /// Kept open, but not read.
    _stdout: PipeReader,
}

impl Stalled {
    /// Starts a gateway. Standard output is full from the start, standard error once it serves.
    pub(crate) fn start(setup: &GatewaySetup) -> Self {
        let (stdout_reader, stdout) = std::io::pipe().unwrap();
        fill(&stdout_reader, stdout.try_clone().unwrap());
        let (log, stderr) = std::io::pipe().unwrap();
        let stderr_of_test = stderr.try_clone().unwrap();
        let mut command = setup.command();
        command.stdout(stdout).stderr(stderr);
        let process = setup.start_command(command);
        fill(&log, stderr_of_test);
        Self {
            process,
            log: BufReader::new(log),
            _stdout: stdout_reader,
        }
    }

    /// Returns the text of a response, which must arrive in time.
    pub(crate) fn probe(&self, path: &str) -> String {
        let start = Instant::now();
        let (_, text) = self.process.get(path);
        let took = start.elapsed();
        assert!(took < PROBE_TIME, "{path} took {took:?}");
        text
    }

    /// Returns the metrics, which must arrive in time.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.probe("/metrics"))
    }

    /// Waits until the metrics satisfy `wanted`.
    pub(crate) fn wait_for_metrics(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) {
        wait_until(what, || wanted(&self.metrics()).then_some(()));
    }

    /// Reads standard error again, until a line contains `wanted`.
    pub(crate) fn read_log_until(&mut self, wanted: &str) {
        let mut log = String::new();
        let mut line = 0;
        while !log[line..].contains(wanted) {
            line = log.len();
            assert!(self.log.read_line(&mut log).unwrap() > 0, "{log}");
        }
    }
}

/// Fills a pipe, so that the next write to it blocks.
fn fill(reader: &PipeReader, mut writer: PipeWriter) {
    let capacity = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    // The last write waits for room, like the gateway.
    thread::spawn(move || while writer.write_all(b"\n").is_ok() {});
    wait_until("the pipe is full", || {
        (rustix::io::ioctl_fionread(reader).unwrap() >= capacity as u64).then_some(())
    });
}

/// A service manager that does not read its notifications.
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

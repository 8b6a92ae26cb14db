//! Gateways as processes of their own.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use snapload::{DEFAULT_ISD_AS, Direction};
use tempfile::NamedTempFile;

use super::arguments::Run;
use super::baseline::Build;
use super::error::BenchError;
use super::program::{Program, Setting};
use crate::cpu::ProcessClock;

/// How long a server may take to its first turn.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const START_POLL: Duration = Duration::from_millis(10);

/// How long a server may take to answer an HTTP request.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// How the answer of a server begins that serves.
const READY: &str = "HTTP/1.1 200";

/// The interface of the gateway's AS by which packets reach the router.
const INTERFACE: u16 = 1;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Which gateway, and where it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// snapgate with one worker on the gateway's CPU.
    Snapgate(Build),
    /// snapgate with several workers.
    SnapgateWith {
        build: Build,
        workers: usize,
        workers_on: WorkersOn,
    },
    /// snap-dataplane 0.8.6 on the gateway's CPU.
    Peer,
}

/// Where several workers run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkersOn {
    /// Each on a CPU of its own.
    OwnCpus,
    /// Where the scheduler puts them.
    AnyCpu,
}

/// What a gateway does with packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Sends them to the router.
    Forward,
    /// Sends them back into their tunnel.
    Echo,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snapgate(build) | Self::SnapgateWith { build, .. } => match build {
                Build::New => "snapgate",
                Build::Baseline => "baseline",
            },
            Self::Peer => "snap-dataplane",
        }
    }
}

/// A running gateway. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    kind: Kind,
    pub(crate) clock: ProcessClock,
    /// Where tunnels come in.
    pub(crate) listen: SocketAddr,
    /// What the load has to do with its packets.
    pub(crate) direction: Direction,
    /// Where it serves its metrics; the peer has none.
    metrics: Option<SocketAddr>,
    /// What it writes.
    log: NamedTempFile,
}

impl Server {
    /// Starts a gateway and returns when it serves.
    pub(crate) fn start(run: &Run, kind: Kind, way: Way) -> Result<Self, BenchError> {
        let listen = free_udp_port()?;
        let router = free_udp_port()?;
        let mut command = Command::new(run.programs.launcher);
        let metrics = match kind {
            Kind::Peer => {
                command.arg(run.programs.peer);
                peer_arguments(&mut command, run, listen, router, way);
                None
            }
            Kind::Snapgate(build) | Kind::SnapgateWith { build, .. } => {
                let program = run.program(build)?;
                let metrics = free_tcp_port()?;
                let settings = snapgate_settings(run, kind, listen, metrics, router, way)?;
                command
                    .arg(&program.path)
                    .args(program.command_line(&settings)?);
                Some(metrics)
            }
        };
        let direction = match way {
            Way::Echo => Direction::Echo,
            Way::Forward => Direction::Up {
                router,
                interface: INTERFACE,
            },
        };
        Self::spawn(command, kind, listen, direction, metrics)
    }

    /// Starts snapgate with the default limits at an address of this host, for the identities that are listed in
    /// a file. It has one worker. Packets for their own tunnel come back, in both ways: `Way::Forward` delivers
    /// packets between tunnels too.
    pub(crate) fn start_with_default_limits(
        run: &Run,
        identities: &Path,
        listen: IpAddr,
        way: Way,
    ) -> Result<Self, BenchError> {
        let listen = free_udp_port_of(listen)?;
        let metrics = free_tcp_port()?;
        let mut command = Command::new(run.programs.launcher);
        let mut settings = vec![
            Setting::required("listen", &listen),
            Setting::required("private-key-file", &run.private_key.path().display()),
            Setting::required("identities", &identities.display()),
            Setting::required("workers", &1),
            Setting::required("cpus", &run.placement.gateway),
            Setting::optional("log", &"warn"),
            Setting::required("metrics", &metrics),
        ];
        settings.extend(match way {
            Way::Echo => echo_settings(),
            Way::Forward => forward_settings(free_udp_port()?, free_udp_port()?),
        });
        let program = run.program(Build::New)?;
        command
            .arg(&program.path)
            .args(program.command_line(&settings)?);
        Self::spawn(
            command,
            Kind::Snapgate(Build::New),
            listen,
            Direction::Echo,
            Some(metrics),
        )
    }

    fn spawn(
        mut command: Command,
        kind: Kind,
        listen: SocketAddr,
        direction: Direction,
        metrics: Option<SocketAddr>,
    ) -> Result<Self, BenchError> {
        let log = NamedTempFile::new().map_err(BenchError::Temporary)?;
        let open = || OpenOptions::new().append(true).open(log.path());
        let output = open().map_err(BenchError::Temporary)?;
        let errors = open().map_err(BenchError::Temporary)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| BenchError::Start {
                program: PathBuf::from(command.get_program()),
                source,
            })?;
        let clock = ProcessClock::new(child.id())?;
        let mut server = Self {
            child,
            kind,
            clock,
            listen,
            direction,
            metrics,
            log,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        loop {
            // An error would say that it is no child of this process.
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(BenchError::NotReady {
                    server: self.kind.name(),
                    status: status.to_string(),
                    said: self.said(),
                });
            }
            let ready = match self.metrics {
                // An error: it does not listen yet.
                Some(metrics) => {
                    get(metrics, "/readyz").is_ok_and(|answer| answer.starts_with(READY))
                }
                None => self.said().lines().any(|line| line == "ready"),
            };
            if ready {
                return Ok(());
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(BenchError::SlowStart {
                    server: self.kind.name(),
                    said: self.said(),
                });
            }
            thread::sleep(START_POLL);
        }
    }

    /// Where it serves its metrics.
    pub(crate) fn metrics_address(&self) -> Result<SocketAddr, BenchError> {
        self.metrics.ok_or(BenchError::NoMetrics)
    }

    /// Its metrics in the text format of Prometheus, behind the header of the answer.
    pub(crate) fn scrape(&self) -> Result<String, BenchError> {
        get(self.metrics_address()?, "/metrics").map_err(BenchError::Metrics)
    }

    /// Everything it wrote so far.
    fn said(&self) -> String {
        match std::fs::read(self.log.path()) {
            Ok(said) => String::from_utf8_lossy(&said).into_owned(),
            Err(error) => format!("(its output cannot be read: {error})"),
        }
    }

    /// Whether it runs, for a message about something that failed.
    pub(crate) fn state(&mut self) -> String {
        match self.child.try_wait() {
            Ok(None) => format!("running; it said:\n{}", self.said()),
            Ok(Some(status)) => format!("gone ({status}); it said:\n{}", self.said()),
            Err(error) => format!("unknown ({error})"),
        }
    }

    /// Memory that it has in RAM, in bytes (VmRSS, proc_pid_status(5)).
    pub(crate) fn resident_bytes(&self) -> Result<u64, BenchError> {
        let path = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let text = std::fs::read_to_string(&path).map_err(|source| BenchError::Read {
            path: path.clone(),
            source,
        })?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| BenchError::Read {
            path,
            source: std::io::ErrorKind::InvalidData.into(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or it is now.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn peer_arguments(
    command: &mut Command,
    run: &Run,
    listen: SocketAddr,
    router: SocketAddr,
    way: Way,
) {
    command
        .args(["--listen", &listen.to_string()])
        .args(["--cpu", &run.placement.gateway.to_string()]);
    if way == Way::Forward {
        command.args(["--router", &router.to_string()]);
    }
}

/// The settings of snapgate for a measurement.
fn snapgate_settings(
    run: &Run,
    kind: Kind,
    listen: SocketAddr,
    metrics: SocketAddr,
    router: SocketAddr,
    way: Way,
) -> Result<Vec<Setting>, BenchError> {
    let (workers, workers_on) = match kind {
        Kind::SnapgateWith {
            workers,
            workers_on,
            ..
        } => (workers, workers_on),
        Kind::Snapgate(_) | Kind::Peer => (1, WorkersOn::OwnCpus),
    };
    let cpus = match workers_on {
        WorkersOn::AnyCpu => "none".to_owned(),
        WorkersOn::OwnCpus => run
            .placement
            .usable
            .iter()
            .take(workers)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    };
    let mut settings = common_settings(listen, run.private_key.path(), metrics);
    settings.extend(worker_settings(workers, &cpus));
    settings.extend(match way {
        Way::Echo => echo_settings(),
        Way::Forward => forward_settings(free_udp_port()?, router),
    });
    Ok(settings)
}

fn common_settings(
    listen: SocketAddr,
    private_key_file: &Path,
    metrics: SocketAddr,
) -> Vec<Setting> {
    vec![
        Setting::required("listen", &listen),
        Setting::required("private-key-file", &private_key_file.display()),
        Setting::required_switch("allow-any-identity"),
        // All tunnels may come from one address, and at once.
        Setting::optional("handshakes-per-ip-per-second", &1_000_000),
        Setting::optional("handshakes-per-second", &1_000_000),
        Setting::optional("log", &"warn"),
        Setting::required("metrics", &metrics),
    ]
}

fn worker_settings(workers: usize, cpus: &str) -> Vec<Setting> {
    vec![
        Setting::required("workers", &workers),
        Setting::required("cpus", &cpus),
    ]
}

fn echo_settings() -> Vec<Setting> {
    vec![Setting::required("forward", &"echo")]
}

fn forward_settings(internal: SocketAddr, router: SocketAddr) -> Vec<Setting> {
    vec![
        Setting::required("forward", &"scion"),
        Setting::required("internal", &internal),
        Setting::required(
            "next-hop",
            &format!("{DEFAULT_ISD_AS}#{INTERFACE}={router}"),
        ),
    ]
}

/// Checks that `program` has every flag that a row of the table requires, and returns the optional ones that
/// it does not have.
///
/// Errors: [`BenchError::MissingFlag`].
pub(crate) fn check_flags(program: &Program) -> Result<Vec<&'static str>, BenchError> {
    let any = SocketAddr::new(LOOPBACK, 0);
    let mut settings = common_settings(any, Path::new(""), any);
    settings.extend(worker_settings(1, "none"));
    settings.extend(echo_settings());
    settings.extend(forward_settings(any, any));
    program.command_line(&settings)?;
    Ok(program.missing(&settings).collect())
}

/// A port that nobody has at the moment.
fn free_udp_port() -> Result<SocketAddr, BenchError> {
    free_udp_port_of(LOOPBACK)
}

fn free_udp_port_of(ip: IpAddr) -> Result<SocketAddr, BenchError> {
    UdpSocket::bind((ip, 0))
        .and_then(|socket| socket.local_addr())
        .map_err(BenchError::NoPort)
}

fn free_tcp_port() -> Result<SocketAddr, BenchError> {
    TcpListener::bind((LOOPBACK, 0))
        .and_then(|socket| socket.local_addr())
        .map_err(BenchError::NoPort)
}

/// The answer to an HTTP request, from its status line on.
pub(crate) fn get(metrics: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&metrics, HTTP_TIMEOUT)?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

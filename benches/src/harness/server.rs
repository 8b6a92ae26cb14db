//! Gateway processes.

use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use snapload::{Direction, LoadError};
use tempfile::NamedTempFile;
use testkit::http_get;

use super::error::BenchError;
use super::program::Setting;
use super::registrations::ControlPlane;
use super::run::{Build, Run};
use super::settings::{self, INTERFACE};
use crate::cpu::ProcessClock;

/// Time limit for the start of a server.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval at which the readiness of a server is polled.
const START_POLL: Duration = Duration::from_millis(10);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Program and CPUs of a server.
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

/// CPUs of several workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkersOn {
    /// Each worker is pinned to a separate CPU.
    OwnCpus,
    /// Workers are not pinned.
    AnyCpu,
}

/// Destination of packets from tunnels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The router.
    Forward,
    /// The tunnel that they came from.
    Echo,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match (self, self.build()) {
            (Self::Peer, _) => "snap-dataplane",
            (_, Build::New) => "snapgate",
            (_, Build::Baseline) => "baseline",
        }
    }

    fn build(self) -> Build {
        match self {
            Self::Snapgate(build) | Self::SnapgateWith { build, .. } => build,
            Self::Peer => Build::New,
        }
    }
}

impl WorkersOn {
    fn cpus(self, run: &Run, workers: usize) -> String {
        match self {
            Self::AnyCpu => "none".to_owned(),
            Self::OwnCpus => {
                let cpus = run.placement.usable.iter().take(workers);
                cpus.map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
        }
    }
}

impl Way {
    fn direction(self, router: SocketAddr) -> Direction {
        match self {
            Self::Echo => Direction::Echo,
            Self::Forward => Direction::Up {
                router,
                interface: INTERFACE,
            },
        }
    }

    fn settings(self, router: SocketAddr) -> Result<Vec<Setting>, BenchError> {
        Ok(match self {
            Self::Echo => settings::echo(),
            Self::Forward => settings::forward(free_udp_port(LOOPBACK)?, router),
        })
    }
}

/// A running gateway, killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    kind: Kind,
    pub(crate) clock: ProcessClock,
    /// Listen address for tunnels.
    pub(crate) listen: SocketAddr,
    /// Direction of the load's packets.
    pub(crate) direction: Direction,
    /// Metrics address; the peer has none.
    metrics: Option<SocketAddr>,
    /// Standard output and standard error.
    log: NamedTempFile,
}

impl Server {
    /// Starts a gateway that admits every identity, and waits until it is ready.
    pub(crate) fn start(run: &Run, kind: Kind, way: Way) -> Result<Self, BenchError> {
        let listen = free_udp_port(LOOPBACK)?;
        let router = free_udp_port(LOOPBACK)?;
        let direction = way.direction(router);
        let gateway_cpu = run.placement.gateway;
        let (workers, cpus) = match kind {
            Kind::Peer => {
                let mut command = Command::new(run.programs.launcher);
                command
                    .arg(run.programs.peer)
                    .args(["--listen", &listen.to_string()])
                    .args(["--cpu", &gateway_cpu.to_string()]);
                if way == Way::Forward {
                    command.args(["--router", &router.to_string()]);
                }
                return Self::spawn(command, kind, listen, direction, None);
            }
            Kind::Snapgate(_) => (1, gateway_cpu.to_string()),
            Kind::SnapgateWith {
                workers,
                workers_on,
                ..
            } => (workers, workers_on.cpus(run, workers)),
        };
        let mut settings = settings::any_identity();
        settings.extend(settings::workers(workers, &cpus));
        settings.extend(way.settings(router)?);
        Self::start_snapgate(run, kind, listen, direction, settings)
    }

    /// Starts snapgate with one worker and the default limits, for the identities in a file. The load expects its
    /// packets back in both ways, because `Way::Forward` also delivers packets between tunnels.
    pub(crate) fn start_with_default_limits(
        run: &Run,
        identities: &Path,
        listen: IpAddr,
        way: Way,
    ) -> Result<Self, BenchError> {
        let mut settings = vec![Setting::required("identities", &identities.display())];
        settings.extend(settings::workers(1, &run.placement.gateway));
        settings.extend(way.settings(free_udp_port(LOOPBACK)?)?);
        let (kind, listen) = (Kind::Snapgate(Build::New), free_udp_port(listen)?);
        Self::start_snapgate(run, kind, listen, Direction::Echo, settings)
    }

    /// Returns a control plane at a free address, for [`Self::start_with_control_plane`].
    pub(crate) fn control_plane() -> Result<ControlPlane, BenchError> {
        ControlPlane::new(free_tcp_port()?)
    }

    /// Starts snapgate with one worker, which admits registered identities only.
    pub(crate) fn start_with_control_plane(
        run: &Run,
        control_plane: &ControlPlane,
        way: Way,
    ) -> Result<Self, BenchError> {
        let router = free_udp_port(LOOPBACK)?;
        let settings = [
            settings::any_rate_of_handshakes(),
            settings::workers(1, &run.placement.gateway),
            way.settings(router)?,
            control_plane.settings(),
        ];
        let kind = Kind::Snapgate(Build::New);
        let listen = free_udp_port(LOOPBACK)?;
        Self::start_snapgate(run, kind, listen, way.direction(router), settings.concat())
    }

    fn start_snapgate(
        run: &Run,
        kind: Kind,
        listen: SocketAddr,
        direction: Direction,
        more: Vec<Setting>,
    ) -> Result<Self, BenchError> {
        let program = run.program(kind.build())?;
        let metrics = free_tcp_port()?;
        let mut settings = settings::common(listen, run.private_key.path(), metrics);
        settings.extend(more);
        let mut command = Command::new(run.programs.launcher);
        command
            .arg(&program.path)
            .args(program.command_line(&settings)?);
        Self::spawn(command, kind, listen, direction, Some(metrics))
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
            // Fails only for processes that are not children of this one.
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(BenchError::NotReady {
                    server: self.kind.name(),
                    status: status.to_string(),
                    output: self.output(),
                });
            }
            let ready = match self.metrics {
                Some(metrics) => {
                    http_get(metrics, "/readyz").is_some_and(|(status, _)| status == 200)
                }
                None => self.output().lines().any(|line| line == "ready"),
            };
            if ready {
                return Ok(());
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(BenchError::SlowStart {
                    server: self.kind.name(),
                    output: self.output(),
                });
            }
            thread::sleep(START_POLL);
        }
    }

    /// Returns the address that serves metrics.
    pub(crate) fn metrics_address(&self) -> Result<SocketAddr, BenchError> {
        self.metrics.ok_or(BenchError::NoMetrics)
    }

    /// Returns the metrics in the text format of Prometheus.
    pub(crate) fn scrape(&self) -> Result<String, BenchError> {
        let answer = http_get(self.metrics_address()?, "/metrics");
        answer.map(|(_, text)| text).ok_or(BenchError::NoMetrics)
    }

    /// Returns the output so far.
    fn output(&self) -> String {
        match std::fs::read(self.log.path()) {
            Ok(output) => String::from_utf8_lossy(&output).into_owned(),
            Err(error) => format!("(cannot read it: {error})"),
        }
    }

    /// Returns the error of a failed load, with the state of the server, which is the likely cause.
    pub(crate) fn load_failed(&mut self, error: LoadError) -> BenchError {
        BenchError::Load {
            server: self.kind.name(),
            source: Box::new(error),
            state: self.state(),
        }
    }

    fn state(&mut self) -> String {
        match self.child.try_wait() {
            Ok(None) => format!("running; its output:\n{}", self.output()),
            Ok(Some(status)) => format!("not running ({status}); its output:\n{}", self.output()),
            Err(error) => format!("in an unknown state ({error})"),
        }
    }

    /// Returns the resident memory in bytes (VmRSS, proc_pid_status(5)).
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
        // Fails if the process has already exited.
        let _exited = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Returns an address with a UDP port that is free at the moment.
fn free_udp_port(ip: IpAddr) -> Result<SocketAddr, BenchError> {
    UdpSocket::bind((ip, 0))
        .and_then(|socket| socket.local_addr())
        .map_err(BenchError::NoPort)
}

fn free_tcp_port() -> Result<SocketAddr, BenchError> {
    TcpListener::bind((LOOPBACK, 0))
        .and_then(|socket| socket.local_addr())
        .map_err(BenchError::NoPort)
}

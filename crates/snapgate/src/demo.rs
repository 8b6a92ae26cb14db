//! `snapgate demo`: a gateway under real load, in one process, without root or configuration.
//!
//! Keys are drawn for the occasion, the gateway listens on loopback and sends every packet back
//! into its tunnel, and [`snapload`] plays the clients: real tunnels on real sockets.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use snapload::{Cpus, Identities, LoadConfig, LoadError, MAX_TRAIN, Progress, Rate, Report};

use crate::config::{
    Authorization, Config, CpuPinning, Dispatch, Forward, ShardConfig, WorkerCount,
};
use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::gateway::{Gateway, StartError, WorkerFailure};
use crate::identities::Identity;
use crate::keys::{PrivateKey, PublicKey};
use crate::summary::{Summary, kernel_drops, percent, write_drops, write_workers};

/// How long packets are sent before they count.
const WARM_UP: Duration = Duration::from_secs(1);

/// What the demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// How long load is measured.
    pub duration: Duration,
    /// How many workers.
    pub workers: WorkerCount,
    /// Where they run.
    pub cpus: CpuPinning,
    /// How many tunnels.
    pub tunnels: NonZeroUsize,
    /// Packets a second over all tunnels; `None` sends as fast as packets come back.
    pub rate: Option<f64>,
    /// Bytes of each SCION packet.
    pub size: usize,
    /// Who brings a datagram to the worker of its tunnel.
    pub dispatch: Dispatch,
    /// One JSON object instead of tables.
    pub json: bool,
}

/// Why there was nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A worker of the gateway failed.
    #[error(transparent)]
    Worker(#[from] WorkerFailure),
    /// The load generator gave no result.
    #[error("the load generator stopped: {0}")]
    Load(#[from] LoadError),
    /// The kernel has no random numbers.
    #[error("cannot draw keys: {0}")]
    Random(getrandom::Error),
    /// Standard output is gone.
    #[error("cannot print the result: {0}")]
    Print(#[from] io::Error),
}

/// Runs the demo and prints what came of it.
///
/// # Errors
///
/// [`DemoError`]; lost packets are a result, not an error.
pub fn run(options: &DemoOptions) -> Result<(), DemoError> {
    let private_key = PrivateKey::generate().map_err(DemoError::Random)?;
    let public_key = private_key.public_key();
    let clients = Identities::random(options.tunnels.get()).map_err(DemoError::Random)?;

    let gateway = Gateway::start(&gateway_config(options, private_key, &clients))?;
    let listen = gateway.listen_addrs()[0];
    let load = load_config(options, listen, &public_key, clients);
    if !options.json {
        print_plan(options, &gateway, &public_key)?;
    }

    let mut display = Display::new(options);
    let stop = load.stop.clone();
    let report = snapload::run(&load, &mut |progress| {
        display.show(&progress);
        if !gateway.failures().is_empty() {
            stop.set();
        }
    });
    display.finish();
    // It may be why there is no report.
    if let Ok(failure) = gateway.failures().try_recv() {
        return Err(failure.into());
    }
    let result = Outcome {
        report: report?,
        summary: gateway.stop(),
    };

    let mut out = io::stdout().lock();
    if options.json {
        writeln!(
            out,
            "{}",
            serde_json::to_string(&result.to_json()).map_err(io::Error::other)?
        )?;
    } else {
        write!(out, "{result}")?;
    }
    Ok(())
}

fn gateway_config(options: &DemoOptions, private_key: PrivateKey, clients: &Identities) -> Config {
    let identities = clients
        .public_keys()
        .into_iter()
        .map(|key| Identity {
            public_key: PublicKey::from_bytes(key),
            name: None,
            expires: None,
        })
        .collect();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let authorization = Authorization::Identities(identities);
    let limits = ShardConfig::default();
    // All tunnels come from one address, and all at once.
    let handshakes = 4 * options.tunnels.get() as u64;
    Config {
        workers: options.workers,
        cpus: options.cpus.clone(),
        dispatch: options.dispatch,
        limits: ShardConfig {
            handshakes_per_ip_per_second: limits.handshakes_per_ip_per_second.max(handshakes),
            handshakes_per_second: limits.handshakes_per_second.max(handshakes),
            ..limits
        },
        metrics: Some(listen),
        ..Config::new(listen, private_key, authorization, Forward::Echo)
    }
}

fn load_config(
    options: &DemoOptions,
    gateway: SocketAddr,
    public_key: &PublicKey,
    clients: Identities,
) -> LoadConfig {
    let threads = options.workers.count.get().min(options.tunnels.get());
    let mut load = LoadConfig::new(gateway, *public_key.as_bytes(), clients);
    load.threads = threads;
    load.cpus = Cpus::Unpinned;
    load.sizes = options.size.into();
    load.rate = match options.rate {
        Some(packets_per_second) => Rate::PerSecond(packets_per_second),
        None => Rate::Max {
            window: snapload::DEFAULT_WINDOW.max(threads as u32 * MAX_TRAIN),
        },
    };
    load.duration = options.duration;
    load.warm_up = WARM_UP;
    load
}

fn print_plan(options: &DemoOptions, gateway: &Gateway, key: &PublicKey) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let workers = &options.workers;
    writeln!(
        out,
        "Gateway     {}, public key {key}",
        gateway.listen_addrs()[0]
    )?;
    writeln!(out, "Workers     {} ({})", workers.count, workers.reason)?;
    if let Some(metrics) = gateway.metrics_addr() {
        writeln!(out, "Metrics     http://{metrics}/metrics")?;
    }
    let rate = match options.rate {
        Some(rate) => format!("{rate} packets/s"),
        None => "as fast as packets come back".to_owned(),
    };
    writeln!(
        out,
        "Load        {} tunnels, {rate}, {} bytes each, for {:?}",
        options.tunnels, options.size, options.duration
    )?;
    writeln!(out)
}

/// Shows how the run goes: a bar on a terminal, lines elsewhere, nothing with `--json`.
struct Display {
    bar: ProgressBar,
    lines: bool,
    seconds: f64,
}

impl Display {
    fn new(options: &DemoOptions) -> Self {
        let terminal = io::stderr().is_terminal() && !options.json;
        let bar = if terminal {
            let style = ProgressStyle::with_template("{wide_bar} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1000).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        let seconds = options.duration.as_secs_f64();
        Self {
            bar,
            lines: !terminal && !options.json,
            seconds,
        }
    }

    fn show(&mut self, progress: &Progress) {
        let (permille, message) = match progress {
            Progress::Connecting { connected, tunnels } => {
                self.bar
                    .set_message(format!("{connected} of {tunnels} tunnels connected"));
                return;
            }
            Progress::Connected(connect) => (
                0,
                format!(
                    "{} tunnels connected in {:.3} s",
                    connect.tunnels, connect.seconds
                ),
            ),
            Progress::WarmUp => (0, "warming up".to_owned()),
            Progress::Interval(interval) => (
                (1000.0 * interval.end_seconds / self.seconds) as u64,
                format!(
                    "{:>4.0} s: {:>9.0} packets/s sent, {:>9.0} packets/s back",
                    interval.end_seconds, interval.sent_pps, interval.received_pps
                ),
            ),
            Progress::Draining { outstanding: 0 } => return,
            Progress::Draining { outstanding } => {
                (1000, format!("waiting for the last {outstanding} packets"))
            }
            _ => return,
        };
        self.bar.set_position(permille);
        if self.lines {
            // The table on standard output is the result; who reads that only, gets that only.
            let _nobody_reads = writeln!(io::stderr(), "{message}");
        } else {
            self.bar.set_message(message);
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What came of the demo, from both sides.
struct Outcome {
    report: Report,
    summary: Summary,
}

#[derive(Serialize)]
struct JsonOutcome<'a> {
    load: &'a Report,
    workers: Vec<JsonWorker>,
    dropped: Vec<JsonDrop>,
}

#[derive(Serialize)]
struct JsonWorker {
    received: u64,
    share: f64,
    taken: u64,
    delivered: u64,
    sent: u64,
    dropped: u64,
    given: u64,
    handovers: u64,
    tunnels: u64,
}

#[derive(Serialize)]
struct JsonDrop {
    stage: &'static str,
    reason: &'static str,
    packets: u64,
}

impl Outcome {
    fn to_json(&self) -> JsonOutcome<'_> {
        let total = self.summary.total();
        let gateway = DropReason::all()
            .map(|reason| (reason.stage(), reason.name(), total.dropped[reason.index()]));
        let kernel =
            kernel_drops(&total).map(|(socket, packets)| ("kernel", socket, packets));
        let dropped = gateway
            .chain(kernel)
            .filter(|&(_, _, packets)| packets > 0)
            .map(|(stage, reason, packets)| JsonDrop {
                stage,
                reason,
                packets,
            })
            .collect();
        let workers = self
            .summary
            .workers
            .iter()
            .map(|worker| JsonWorker::new(worker, &total))
            .collect();
        JsonOutcome {
            load: &self.report,
            workers,
            dropped,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, summary } = self;
        let latency = &report.latency;
        writeln!(
            out,
            "Sent        {} packets, {:.0}/s",
            report.counts.sent, report.sent_pps
        )?;
        writeln!(
            out,
            "Back        {} packets, {:.0}/s, {:.3} Gbit/s",
            report.counts.received,
            report.received_pps,
            report.received_bits_per_second / 1e9
        )?;
        writeln!(
            out,
            "Lost        {} ({:.4} %)",
            report.lost,
            100.0 * report.loss_share
        )?;
        writeln!(
            out,
            "Round trip  p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            micros(latency.p50_ns),
            micros(latency.p90_ns),
            micros(latency.p99_ns),
            micros(latency.p99_9_ns),
            micros(latency.max_ns),
        )?;
        if report.limited_by_generator {
            writeln!(
                out,
                "            the generator was the limit: the gateway can do more"
            )?;
        }
        writeln!(out)?;
        let total = summary.total();
        writeln!(out, "The workers also counted {WARM_UP:?} of warm-up.")?;
        write_workers(out, &summary.workers, &total)?;
        writeln!(out)?;
        write_drops(out, &total)?;
        writeln!(out)?;
        out.write_str(NEXT_COMMANDS)
    }
}

const NEXT_COMMANDS: &str = "\
Try next:
  snapgate demo --rate max --tunnels 500        how much this machine can do
  snapgate demo --workers 1                     one worker alone
  snapgate demo --dispatch user                 the same without the kernel's help: see handovers
  snapgate genkey --output private.key          the key of a gateway of your own
  snapgate run --help                           everything that it takes
";

impl JsonWorker {
    fn new(worker: &Counters, total: &Counters) -> Self {
        Self {
            received: worker.received(),
            share: percent(worker.received(), total.received()) / 100.0,
            taken: worker.taken_packets,
            delivered: worker.delivered(),
            sent: worker.sent(),
            dropped: worker.total_dropped(),
            given: worker.given_packets,
            handovers: worker.handovers,
            tunnels: worker.tunnels,
        }
    }
}

fn micros(nanoseconds: u64) -> String {
    format!("{:.0} µs", nanoseconds as f64 / 1e3)
}

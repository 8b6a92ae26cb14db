//! `snapload demo`: a gateway under load, in one process, without root or configuration.
//!
//! Keys are random, the gateway listens on loopback and echoes every packet, and [`snapload`] runs the clients: real
//! tunnels on real sockets.

mod arguments;
pub(crate) mod error;
mod outcome;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use indicatif::{ProgressBar, ProgressStyle};
use snapgate::config::{Authorization, AvailableCpus, Config, Forward, ShardConfig};
use snapgate::gateway::Gateway;
use snapgate::identities::Identity;
use snapgate::keys::{PrivateKey, PublicKey};
use snapload::{Cpus, Identities, LoadConfig, MAX_TRAIN, Progress, Rate};

pub(crate) use self::arguments::DemoArguments;
use self::arguments::Workers;
use self::error::DemoError;
use self::outcome::{Outcome, WARM_UP};
use crate::failure::Failure;
use crate::values::RateArgument;

/// Runs the demo and prints its results. Lost packets are a result, not an error.
pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let workers = arguments
        .workers(&AvailableCpus::of_this_process())
        .map_err(Failure::Usage)?;
    let result = measure(arguments, workers)?;
    let text = if arguments.json {
        let json = result.to_json();
        json.map_err(|error| Failure::Output(error.into()))? + "\n"
    } else {
        result.to_string()
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

fn measure(arguments: &DemoArguments, workers: Workers) -> Result<Outcome, Failure> {
    let private_key = PrivateKey::generate().map_err(DemoError::Random)?;
    let public_key = private_key.public_key();
    let clients = Identities::random(arguments.tunnels.get()).map_err(DemoError::Random)?;

    let load_threads = workers.count.count.get().min(arguments.tunnels.get());
    let config = gateway_config(arguments, workers, private_key, &clients);
    let gateway = Gateway::start(&config).map_err(DemoError::Start)?;
    let listen = gateway.listen_addrs()[0];
    if !arguments.json {
        print_plan(arguments, &config, &gateway).map_err(Failure::Output)?;
    }

    let load = load_config(arguments, load_threads, listen, &public_key, clients);
    let mut display = Display::new(arguments);
    let stop = load.stop.clone();
    let report = snapload::run(&load, &mut |progress| {
        display.show(&progress);
        if !gateway.failures().is_empty() {
            stop.set();
        }
    });
    display.finish();
    // A failed worker may be why there is no report.
    if let Ok(failure) = gateway.failures().try_recv() {
        return Err(DemoError::Worker(failure).into());
    }
    Ok(Outcome {
        report: report.map_err(DemoError::Load)?,
        summary: gateway.stop(),
    })
}

fn gateway_config(
    arguments: &DemoArguments,
    workers: Workers,
    private_key: PrivateKey,
    clients: &Identities,
) -> Config {
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
    // All tunnels connect from one address at the same time.
    let handshakes = 4 * arguments.tunnels.get() as u64;
    Config {
        workers: workers.count,
        cpus: workers.cpus,
        dispatch: arguments.dispatch,
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
    arguments: &DemoArguments,
    threads: usize,
    gateway: SocketAddr,
    public_key: &PublicKey,
    clients: Identities,
) -> LoadConfig {
    let mut load = LoadConfig::new(gateway, *public_key.as_bytes(), clients);
    load.threads = threads;
    load.cpus = Cpus::Unpinned;
    load.sizes = arguments.size.into();
    load.rate = match arguments.rate {
        RateArgument::PerSecond(packets_per_second) => Rate::PerSecond(packets_per_second),
        RateArgument::Max => Rate::Max {
            window: snapload::DEFAULT_WINDOW.max(threads as u32 * MAX_TRAIN),
        },
    };
    load.duration = arguments.duration;
    load.warm_up = WARM_UP;
    load
}

fn print_plan(arguments: &DemoArguments, config: &Config, gateway: &Gateway) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (workers, key) = (&config.workers, config.private_key.public_key());
    writeln!(
        out,
        "Gateway     {}, public key {key}",
        gateway.listen_addrs()[0]
    )?;
    writeln!(out, "Workers     {} ({})", workers.count, workers.reason)?;
    if let Some(metrics) = gateway.metrics_addr() {
        writeln!(out, "Metrics     http://{metrics}/metrics")?;
    }
    let rate = match arguments.rate {
        RateArgument::PerSecond(rate) => format!("{rate} packets/s"),
        RateArgument::Max => "as fast as packets come back".to_owned(),
    };
    writeln!(
        out,
        "Load        {} tunnels, {rate}, {} bytes each, for {:?}",
        arguments.tunnels, arguments.size, arguments.duration
    )?;
    writeln!(out)
}

/// Progress of a run: a bar on a terminal, lines elsewhere, nothing with `--json`.
struct Display {
    bar: ProgressBar,
    lines: bool,
    seconds: f64,
}

impl Display {
    fn new(arguments: &DemoArguments) -> Self {
        let terminal = io::stderr().is_terminal() && !arguments.json;
        let bar = if terminal {
            let style = ProgressStyle::with_template("{wide_bar} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1000).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            lines: !terminal && !arguments.json,
            seconds: arguments.duration.as_secs_f64(),
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

//! `snapload demo`: a gateway under load, in one process, without root or configuration.
//!
//! Keys are random, the gateway listens on loopback and echoes every packet, and [`snapload`] runs the clients: real
//! tunnels on real sockets.

mod arguments;
mod outcome;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use snapgate::config::{Authorization, AvailableCpus, Config, Forward, ShardConfig};
use snapgate::gateway::Gateway;
use snapgate::identities::Identity;
use snapgate::keys::{PrivateKey, PublicKey};
use snapload::{Cpus, Identities, LoadConfig, MAX_TRAIN, Progress, Rate};

pub(crate) use self::arguments::DemoArguments;
use self::arguments::Workers;
use self::outcome::{Outcome, WARM_UP};
use crate::failure::Failure;
use crate::human::{connected, plural, scaled};
use crate::screen::Screen;
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
    let random =
        |error: getrandom::Error| Failure::Failed(format!("cannot generate keys: {error}"));
    let private_key = PrivateKey::generate().map_err(random)?;
    let public_key = private_key.public_key();
    let clients = Identities::random(arguments.tunnels.get()).map_err(random)?;

    let load_threads = workers.count.count.get().min(arguments.tunnels.get());
    let config = gateway_config(arguments, workers, private_key, &clients);
    let gateway = Gateway::start(&config).map_err(|error| Failure::Failed(error.to_string()))?;
    let listen = gateway.local_addresses().tunnels[0];
    if !arguments.json {
        print_plan(arguments, &config, &gateway).map_err(Failure::Output)?;
    }

    let load = load_config(arguments, load_threads, listen, &public_key, clients);
    let screen = Screen::new(arguments.json);
    let stop = load.stop.clone();
    let report = snapload::run(&load, &mut |progress| {
        show(&progress, arguments, &screen);
        if !gateway.failures().is_empty() {
            stop.set();
        }
    });
    screen.finish();
    // A failed worker may be why there is no report.
    if let Ok(failure) = gateway.failures().try_recv() {
        return Err(Failure::Failed(failure.to_string()));
    }
    let failed = |error| Failure::Failed(format!("load generator failed: {error}"));
    Ok(Outcome {
        report: report.map_err(failed)?,
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
    let workers = &config.workers;
    let listen = gateway.local_addresses().tunnels[0];
    writeln!(out, "Gateway     {listen}")?;
    writeln!(out, "Public key  {}", config.private_key.public_key())?;
    writeln!(out, "Workers     {} ({})", workers.count, workers.reason)?;
    if let Some(metrics) = gateway.local_addresses().metrics {
        writeln!(out, "Metrics     http://{metrics}/metrics")?;
    }
    let rate = match arguments.rate {
        RateArgument::PerSecond(pps) => scaled(pps, "pps"),
        RateArgument::Max => "closed loop".to_owned(),
    };
    writeln!(
        out,
        "Load        {}, {rate}, {} bytes, for {:?}\n",
        plural(arguments.tunnels.get(), "tunnel"),
        arguments.size,
        arguments.duration
    )
}

/// Shows the progress of a demo in a bar or, without one, on lines of standard error: standard output has only the
/// result.
fn show(progress: &Progress, arguments: &DemoArguments, screen: &Screen) {
    let message = match progress {
        Progress::Connecting { connected, tunnels } => {
            screen.message(format!("{connected} of {tunnels} tunnels connected"));
            return;
        }
        Progress::Connected(connect) => connected(connect),
        Progress::WarmUp => "warming up".to_owned(),
        Progress::Interval(interval) => {
            screen.advance(interval.end_seconds, arguments.duration);
            format!(
                "{:.0} s: sent {}, received {}",
                interval.end_seconds,
                scaled(interval.sent_pps, "pps"),
                scaled(interval.received_pps, "pps")
            )
        }
        Progress::Draining { outstanding } if *outstanding > 0 => {
            format!("waiting for {outstanding} packets")
        }
        _ => return,
    };
    if screen.has_bar() {
        screen.message(message);
    } else if !arguments.json {
        // Without a reader there is nothing to report.
        let _ = writeln!(io::stderr(), "{message}");
    }
}

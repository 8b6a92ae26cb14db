//! `snapload run`: from arguments to a result and an exit code.

use std::io::{self, IsTerminal as _};

use snapload::{Checks, Cpus, Identities, LoadConfig, LoadError, Progress, Rate, Report};

use crate::Failure;
use crate::cli::{RateArgument, RunArguments};
use crate::human::{Bar, Lines};
use crate::json::Json;

/// Shows what a run does and what it found.
pub(crate) trait Output {
    fn progress(&mut self, progress: &Progress) -> io::Result<()>;
    fn report(&mut self, report: &Report, failed_checks: &[String]) -> io::Result<()>;
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let config = config(arguments)?;
    let checks = Checks {
        max_loss_share: arguments.max_loss.map(|percent| percent / 100.0),
        max_p99: arguments.max_p99,
    };
    let mut output: Box<dyn Output> = if arguments.json {
        Box::new(Json)
    } else if io::stderr().is_terminal() {
        Box::new(Bar::new(&config))
    } else {
        Box::new(Lines)
    };
    let mut written = Ok(());
    let report = snapload::run(&config, &mut |progress| {
        if written.is_ok() {
            written = output.progress(&progress);
        }
    })?;
    written.map_err(Failure::Output)?;
    let failed_checks = report.failed_checks(&checks);
    output
        .report(&report, &failed_checks)
        .map_err(Failure::Output)?;
    match report.offered_pps {
        _ if !failed_checks.is_empty() => Err(Failure::Checks(failed_checks)),
        Some(offered_pps) if !report.offered_rate_reached => Err(Failure::RateNotReached {
            sent_pps: report.sent_pps,
            offered_pps,
        }),
        _ => Ok(()),
    }
}

fn config(arguments: &RunArguments) -> Result<LoadConfig, Failure> {
    let identities = identities(arguments)?;
    let mut config = LoadConfig::new(arguments.gateway, arguments.public_key.0, identities);
    config.threads = arguments.threads;
    config.cpus = arguments.cpus.clone().unwrap_or(Cpus::FromLast);
    config.size = arguments.size;
    config.rate = match arguments.rate {
        RateArgument::PerSecond(pps) => Rate::PerSecond(pps),
        RateArgument::Max => Rate::Max {
            window: arguments.window,
        },
    };
    config.train = arguments.train;
    config.duration = arguments.duration;
    config.warm_up = arguments.warm_up;
    config.drain = arguments.drain;
    config.interval = arguments.interval;
    config.connect_timeout = arguments.connect_timeout;
    config.source_ips = arguments.source_ip;
    config.isd_as = arguments.isd_as;
    config.allow_remote = arguments.allow_remote;
    Ok(config)
}

fn identities(arguments: &RunArguments) -> Result<Identities, Failure> {
    if let Some(path) = &arguments.keys_file {
        let mut identities =
            Identities::read_file(path).map_err(|error| Failure::Usage(error.to_string()))?;
        if let Some(tunnels) = arguments.tunnels {
            if tunnels > identities.len() {
                return Err(Failure::Usage(format!(
                    "{} holds {} keys, which is too few for {tunnels} tunnels",
                    path.display(),
                    identities.len(),
                )));
            }
            identities.truncate(tunnels);
        }
        return Ok(identities);
    }
    let tunnels = arguments.tunnels.unwrap_or(1);
    match arguments.key_seed {
        Some(seed) => Ok(Identities::from_seed(seed, tunnels)),
        None => Identities::random(tunnels).map_err(|error| LoadError::Random(error).into()),
    }
}

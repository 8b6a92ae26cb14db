//! `snapgate run`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::output::{FAILURE, USAGE, fail, print_error, print_warning};
use super::setting_args::ConfigArgs;
use crate::config::problem::Warning;
use crate::config::resolve::Effective;
use crate::config::{Config, CpuPinning, Forward};
use crate::cpus;
use crate::gateway::Gateway;
use crate::logging;
use crate::outbox::Outbox;
use crate::reload::IdentitiesReloader;
use crate::service::Service;
use crate::service_manager::ServiceManager;
use crate::shutdown::END_TIME;
use crate::signals::{self, Signals};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Every setting is a flag (--local-prefix), an environment variable (SNAPGATE_LOCAL_PREFIX) and a \
key of the configuration file (local_prefix). Flags override environment variables, which override \
the file. The flag of a list is repeated; its environment variable is separated by commas. Paths \
in the file are relative to the file's directory.

Examples:
  snapgate run --config /etc/snapgate/snapgate.toml
  snapgate run --private-key-file private.key --identities identities.toml \\
      --internal 10.0.0.5:30100 --topology /etc/scion/topology.json
  snapgate run --private-key-file private.key --allow-any-identity \\
      --forward echo --workers 2

Configuration file:
  private_key_file = \"private.key\"
  identities = \"identities.toml\"
  internal = \"10.0.0.5:30100\"
  local_prefix = [\"10.0.0.0/24\"]
  [next_hop]
  \"1-ff00:0:110#1\" = \"10.0.0.1:31002\"

Identities file:
  [[identity]]
  public_key = \"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\"
  name = \"laptop\"
  expires = 2027-01-01T00:00:00Z

Signals:
  SIGTERM  drain: refuse new tunnels, serve active ones, then stop
           (--drain-timeout-seconds, --drain-idle-seconds)
  SIGINT   stop at once; so does a second SIGTERM at least 0.5 s after the first
  SIGHUP   reload the identities; changes of the file are also detected

Exit codes:
  0  stopped by SIGINT or SIGTERM
  1  failure at start or run time
  2  invalid usage or configuration";

/// Number of warnings logged before the log is flushed.
const WARNINGS_AT_ONCE: usize = 256;

/// Maximum time for the last lines on a slow standard error or standard output.
const PRINT_TIME: Duration = Duration::from_millis(500);

/// Runs the gateway until a signal or a failure.
pub(super) fn run(arguments: RunArgs) -> ExitCode {
    // Before any other thread starts, and before a signal can interrupt the start of the gateway.
    let signals = match signals::listen(exit_now) {
        Ok(signals) => signals,
        Err(error) => return fail(FAILURE, &format!("cannot wait for signals: {error}")),
    };
    let effective = match arguments.config.load() {
        Ok(effective) => effective,
        Err(problems) => {
            problems.iter().for_each(|problem| print_error(problem));
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = logging::start(&effective.log) {
        return fail(FAILURE, &format!("cannot start the log: {error}"));
    }
    let code = serve(&effective, &signals);
    logging::flush(Instant::now() + PRINT_TIME);
    code
}

/// Ends the process at once. `std::process::exit` would wait for another thread that is exiting.
fn exit_now(code: u8) {
    logging::flush(Instant::now() + PRINT_TIME / 5);
    signal_hook::low_level::exit(code.into());
}

fn serve(effective: &Effective, signals: &Signals) -> ExitCode {
    warn(&effective.warnings);
    // Before the start, because `/readyz` can answer 200 before `start` returns, and a ready gateway drains on SIGTERM.
    signals.serving();
    let gateway = match Gateway::start(&effective.config) {
        Ok(gateway) => gateway,
        Err(error) => return fail(FAILURE, &error),
    };
    let manager = ServiceManager::of_this_process();
    let reloader = match follow_identities(effective, &gateway, &manager) {
        Ok(reloader) => reloader,
        Err(error) => return fail(FAILURE, &format!("cannot watch identities: {error}")),
    };
    announce(&effective.config, &gateway);
    let service = Service {
        gateway: &gateway,
        signals,
        reloader,
        manager: manager.clone(),
        drain: effective.drain,
    };
    let served = service.run();
    let code = if served.is_ok() { 0 } else { FAILURE };
    signals.shutdown.end_by(Instant::now() + END_TIME, code);
    let summary = gateway.stop();
    let deadline = Instant::now() + PRINT_TIME;
    print_by(&summary.to_string(), deadline);
    manager.flush(deadline);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(code, &failure),
    }
}

/// Prints to standard output until `deadline`, because a write blocks if the reader is slow.
fn print_by(text: &str, deadline: Instant) {
    let write = || {
        // A blocked write through `io::stdout()` would hold its lock.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let write = move |text: &[u8]| {
            stdout.write_all(text).inspect_err(|error| {
                tracing::warn!("cannot write the summary to standard output: {error}");
            })
        };
        let outbox = Outbox::start("summary", write, |_| {})?;
        outbox.put(text.as_bytes());
        Ok(outbox.flush(deadline))
    };
    match write() {
        Ok(true) => {}
        Ok(false) => tracing::warn!("no summary: standard output is not read"),
        Err::<_, io::Error>(error) => tracing::warn!("no summary: {error}"),
    }
}

/// Logs the warnings about a valid configuration.
fn warn(warnings: &[Warning]) {
    let mut is_read = true;
    for (index, warning) in (1..).zip(warnings) {
        match warning {
            // A log filter must not hide this warning.
            Warning::AnyIdentity => print_warning(warning),
            _ => tracing::warn!("{warning}"),
        }
        // There can be more warnings than fit into the queue of the log.
        if index % WARNINGS_AT_ONCE == 0 && is_read {
            is_read = logging::flush(Instant::now() + PRINT_TIME);
        }
    }
}

fn follow_identities(
    effective: &Effective,
    gateway: &Gateway,
    manager: &ServiceManager,
) -> io::Result<Option<IdentitiesReloader>> {
    let file = effective.identities_file.clone();
    file.zip(gateway.identity_list())
        .map(|(file, list)| IdentitiesReloader::start(file, Arc::clone(list), manager.clone()))
        .transpose()
}

/// Logs the effective configuration.
fn announce(config: &Config, gateway: &Gateway) {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(
        "snapgate {version} runs with public key {}",
        config.private_key.public_key()
    );
    let workers = config.workers.count;
    match &config.cpus {
        CpuPinning::Pinned(cpus) => {
            tracing::info!(
                "workers: {workers} ({}), on CPUs {}",
                config.workers.reason,
                cpus::format_list(cpus)
            );
        }
        CpuPinning::Unpinned => {
            tracing::info!("workers: {workers} ({}), on any CPU", config.workers.reason);
        }
    }
    for address in gateway.listen_addrs() {
        tracing::info!("tunnels come in at {address}");
    }
    match &config.forward {
        Forward::Scion(scion) => {
            // Contains the port that the kernel chose for port 0.
            let internal = gateway.internal_addr().unwrap_or(scion.internal);
            let routers = scion.next_hops.len();
            tracing::info!(
                "packets go to SCION from {internal}; interfaces with a router: {routers}"
            );
        }
        other => tracing::info!("packets are {}", other.help()),
    }
    if let Some(address) = gateway.metrics_addr() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
}

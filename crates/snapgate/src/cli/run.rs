//! `snapgate run`.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::setting_args::ConfigArgs;
use super::{FAILURE, USAGE, fail, print, print_error, print_warning};
use crate::config::problem::Warning;
use crate::config::resolve::Effective;
use crate::config::{Config, CpuPinning, Forward};
use crate::cpus;
use crate::gateway::Gateway;
use crate::reload::IdentitiesReloader;
use crate::service::Service;
use crate::signals;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Every setting is a flag (--local-prefix), an environment variable (SNAPGATE_LOCAL_PREFIX) and a \
key of the configuration file (local_prefix). A flag wins over the variable, the variable over the \
file, the file over the default. Repeat the flag of a list; put commas between the values of a \
variable. Paths in the file are relative to the file's directory.

Examples:
  snapgate run --config /etc/snapgate/snapgate.toml
  snapgate run --private-key-file private.key --identities identities.toml \\
      --internal 10.0.0.5:30100 --topology /etc/scion/topology.json
  snapgate run --private-key-file private.key --allow-any-identity --forward echo --workers 2

A configuration file:
  private_key_file = \"private.key\"
  identities = \"identities.toml\"
  internal = \"10.0.0.5:30100\"
  local_prefix = [\"10.0.0.0/24\"]
  [next_hop]
  \"1-ff00:0:110#1\" = \"10.0.0.1:31002\"

A file of identities:
  [[identity]]
  public_key = \"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\"
  name = \"laptop\"
  expires = 2027-01-01T00:00:00Z

Signals:
  SIGTERM  make no new tunnels, serve those that talk for a while (--drain-timeout-seconds), then stop
  SIGINT   stop at once, as does a second SIGTERM
  SIGHUP   read the identities again, which also happens by itself when their file changes

Exit codes:
  0  stopped by SIGINT or SIGTERM
  1  failed to start or while running
  2  wrong usage or configuration";

/// Runs the gateway until a signal or a failure.
pub(super) fn run(arguments: RunArgs) -> ExitCode {
    let effective = match arguments.config.load() {
        Ok(effective) => effective,
        Err(problems) => {
            problems.iter().for_each(|problem| print_error(problem));
            return ExitCode::from(USAGE);
        }
    };
    start_logging(&effective.log);
    serve(&effective)
}

/// Logs to standard error: with colours on a terminal, without the time under systemd, which adds
/// it.
fn start_logging(filter: &str) {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Else a log that cannot be written (a full disk, a reader that is gone) is a panic.
        .log_internal_errors(false)
        .with_env_filter(EnvFilter::new(filter));
    if is_journal_behind_stderr() {
        subscriber.without_time().init();
    } else {
        subscriber.init();
    }
}

/// Whether systemd's journal reads standard error: the variable names the device and inode of its
/// socket (systemd.exec(5)), and is inherited by processes that write elsewhere.
fn is_journal_behind_stderr() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    stderr
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| journal == format!("{}:{}", metadata.dev(), metadata.ino()))
}

fn serve(effective: &Effective) -> ExitCode {
    for warning in &effective.warnings {
        match warning {
            // Not for a log filter to hide.
            Warning::AnyIdentity => print_warning(warning),
            _ => tracing::warn!("{warning}"),
        }
    }
    // Before there is another thread, and so that no signal finds the gateway half built.
    let signals = match signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILURE, &format!("cannot wait for signals: {error}")),
    };
    let gateway = match Gateway::start(&effective.config) {
        Ok(gateway) => gateway,
        Err(error) => return fail(FAILURE, &error),
    };
    let reloader = match follow_identities(effective, &gateway) {
        Ok(reloader) => reloader,
        Err(error) => return fail(FAILURE, &format!("cannot follow the identities: {error}")),
    };
    announce(&effective.config, &gateway);
    let service = Service {
        gateway: &gateway,
        signals,
        reloader,
        drain: effective.drain,
    };
    let served = service.run();
    let summary = gateway.stop();
    let printed = print(&summary.to_string());
    match served {
        Ok(()) => printed,
        Err(failure) => fail(FAILURE, &failure),
    }
}

fn follow_identities(
    effective: &Effective,
    gateway: &Gateway,
) -> io::Result<Option<IdentitiesReloader>> {
    let file = effective.identities_file.clone();
    file.zip(gateway.identity_list())
        .map(|(file, list)| IdentitiesReloader::start(file, Arc::clone(list)))
        .transpose()
}

/// Says what runs, and why as it does.
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
            // The real port, where the kernel chose it.
            let internal = gateway.internal_addr().unwrap_or(scion.internal);
            let routers = scion.next_hops.len();
            tracing::info!(
                "packets go to SCION from {internal}; interfaces with a router: {routers}"
            );
        }
        Forward::Echo => tracing::info!("packets go back into their tunnels"),
        Forward::Sink => tracing::info!("packets are discarded and counted as delivered"),
    }
    if let Some(address) = gateway.metrics_addr() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
}

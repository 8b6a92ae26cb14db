//! `snapgate run`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tracing::Level;

use super::output::{FAILURE, USAGE, fail, print_warning};
use super::setting_args::ConfigArgs;
use crate::accounting::AccountingLog;
use crate::address_wait::wait_for_addresses;
use crate::config::problem::Warning;
use crate::config::resolve::Effective;
use crate::config::{Config, CpuPinning, Forward};
use crate::cpus;
use crate::gateway::{Attachments, Gateway};
use crate::logging::{self, LogFormat};
use crate::open_files;
use crate::outbox::Outbox;
use crate::reload::IdentitiesReloader;
use crate::service::Service;
use crate::service_manager::ServiceManager;
use crate::shutdown::END_TIME;
use crate::signals::{self, Signals};
use crate::state::RemoteFiles;
use crate::summary::Summary;

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
  SIGHUP   reload the identities file, which also happens when it changes

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
        Err(rejected) => {
            for problem in &rejected.problems {
                logging::print_now(rejected.log_format, Level::ERROR, problem);
            }
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = logging::start(&effective.log, effective.log_format) {
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
    if let Err(error) = open_files::raise_limit() {
        tracing::debug!(%error, "limit of open files not raised");
    }
    // Before signals are handled: until then they end the process at once.
    wait_for_addresses(&effective.config);
    // Before the start, because `/readyz` can answer 200 before `start` returns, and a ready gateway drains on SIGTERM.
    signals.serving();
    let (mut accounting, mut usage) = (None, None);
    if let Some(file) = &effective.accounting_log {
        match AccountingLog::start(file) {
            Ok((log, sink)) => (accounting, usage) = (Some(log), Some(sink)),
            Err(error) => return fail(FAILURE, &accounting_error(file, &error)),
        }
    }
    let attachments = Attachments {
        open_state: RemoteFiles::open,
        usage,
    };
    let gateway = match Gateway::start_with(&effective.config, attachments) {
        Ok(gateway) => gateway,
        Err(error) => return fail(FAILURE, &error),
    };
    let manager = ServiceManager::of_this_process();
    let reloader = match follow_identities(effective, &gateway, &manager) {
        Ok(reloader) => reloader,
        Err(error) => return fail(FAILURE, &format!("cannot watch identities: {error}")),
    };
    announce(&effective.config, &gateway);
    if let Some(file) = &effective.accounting_log {
        tracing::info!(file = %file.display(), "writing accounting log");
    }
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
    if let Some(accounting) = accounting {
        accounting.finish();
    }
    let deadline = Instant::now() + PRINT_TIME;
    print_by(&format_summary(&summary, effective.log_format), deadline);
    manager.flush(deadline);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(code, &failure),
    }
}

fn accounting_error(file: &Path, error: &io::Error) -> String {
    format!(
        "cannot write the accounting log {}: {error}; check its directory, the permissions, and the sandbox of the \
         service (ReadWritePaths=)",
        file.display()
    )
}

/// Returns the tables of the summary, or its totals as a JSON object.
fn format_summary(summary: &Summary, format: LogFormat) -> String {
    if format == LogFormat::Text {
        return summary.to_string();
    }
    let total = summary.total();
    let fields = [
        ("ran_seconds", summary.ran.as_secs_f64().into()),
        ("workers", summary.workers.len().into()),
        ("received", total.received().into()),
        ("delivered", total.delivered().into()),
        ("sent", total.sent().into()),
        ("dropped", total.total_dropped().into()),
        ("tunnels", total.tunnels.into()),
    ];
    logging::json_line(Level::INFO, "summary", &fields)
}

/// Prints to standard output, at most until `deadline`, because it may no longer be read.
fn print_by(text: &str, deadline: Instant) {
    let write = || {
        // A blocked write through `io::stdout()` would hold its lock.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let write = move |text: &[u8]| {
            stdout.write_all(text).inspect_err(|error| {
                tracing::warn!(%error, "cannot print summary");
            })
        };
        let outbox = Outbox::start("summary", write, |_| {})?;
        outbox.put(text.as_bytes());
        Ok(outbox.flush(deadline))
    };
    match write() {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(
                error = "standard output is not read",
                "cannot print summary"
            );
        }
        Err::<_, io::Error>(error) => tracing::warn!(%error, "cannot print summary"),
    }
}

/// Logs the warnings about a valid configuration.
fn warn(warnings: &[Warning]) {
    let mut is_read = true;
    for (index, warning) in (1..).zip(warnings) {
        match warning {
            // A log filter must not hide this warning.
            Warning::AnyIdentity => print_warning(warning),
            _ => tracing::warn!(%warning, "configuration"),
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
    file.zip(gateway.registry())
        .map(|(file, registry)| {
            IdentitiesReloader::start(file, Arc::clone(registry), manager.clone())
        })
        .transpose()
}

/// Logs the effective configuration.
fn announce(config: &Config, gateway: &Gateway) {
    let public_key = config.private_key.public_key();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %public_key, "started");
    let cpus = match &config.cpus {
        CpuPinning::Pinned(cpus) => cpus::format_list(cpus),
        CpuPinning::Unpinned => "any".to_owned(),
    };
    let workers = config.workers.count.get();
    tracing::info!(workers, reason = %config.workers.reason, cpus, "workers started");
    let addresses = gateway.local_addresses();
    let interface = config.listen_interface.map(tracing::field::display);
    for address in &addresses.tunnels {
        tracing::info!(%address, interface, "listening for tunnels");
    }
    let mode = config.forward.name();
    match &config.forward {
        Forward::Scion(scion) => {
            let address = addresses.internal.unwrap_or(scion.internal);
            let interface = scion.interface.map(tracing::field::display);
            tracing::info!(mode, %address, interface, interfaces = scion.next_hops.len(), "forwarding");
        }
        Forward::Echo | Forward::Sink => tracing::info!(mode, "forwarding"),
    }
    if let Some(address) = addresses.metrics {
        tracing::info!(url = %format_args!("http://{address}/metrics"), "serving metrics");
    }
}

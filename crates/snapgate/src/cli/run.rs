//! `snapgate run`.

use std::io;
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
use crate::config::{Authorization, Config, CpuPinning, Forward};
use crate::control_plane::{PrepareError, PreparedControlPlane, RunningControlPlane};
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
use crate::standard_streams::{self, Stream};
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
    // Standard input, which may be the file with the private key, has been read.
    let detached = standard_streams::detach_files(effective.log_format);
    let code = match logging::start(&effective.log, effective.log_format) {
        Ok(()) => {
            warn_of_files(detached);
            serve(&effective, &signals)
        }
        Err(error) => fail(FAILURE, &format!("cannot start the log: {error}")),
    };
    // The reason of a failure is worth more time.
    let is_success = code == ExitCode::SUCCESS;
    finish_output(if is_success { PRINT_TIME } else { END_TIME });
    code
}

/// Ends the process at once. `std::process::exit` would wait for another thread that is exiting.
fn exit_now(code: u8) {
    finish_output(PRINT_TIME / 5);
    signal_hook::low_level::exit(code.into());
}

/// Waits until the log and the summary have been written, at most for `time`.
fn finish_output(time: Duration) {
    let deadline = Instant::now() + time;
    logging::flush(deadline);
    // A failure cannot be reported anywhere.
    let _ = standard_streams::finish(&[Stream::Error, Stream::Output], deadline);
}

fn warn_of_files(detached: io::Result<()>) {
    if let Err(error) = detached {
        tracing::warn!(
            %error,
            hint = "if the storage of standard output or standard error hangs, this process cannot end",
            "cannot start a process that writes output"
        );
    }
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
    let prepared = match prepare_control_plane(effective) {
        Ok(prepared) => prepared,
        Err(error) => return fail(FAILURE, &error),
    };
    let attachments = Attachments {
        open_state: RemoteFiles::open,
        usage,
        registry: prepared
            .as_ref()
            .map(|prepared| Arc::clone(prepared.registry())),
        has_control_plane: prepared.is_some(),
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
    let control_plane = match prepared.map(PreparedControlPlane::serve).transpose() {
        Ok(control_plane) => control_plane,
        Err(error) => return fail(FAILURE, &error),
    };
    announce(&effective.config, &gateway, control_plane.as_ref());
    if let Some(control_plane) = &control_plane {
        gateway.serve_control_plane(control_plane.metrics().clone());
    }
    if let Some(file) = &effective.accounting_log {
        tracing::info!(file = %file.display(), "writing accounting log");
    }
    let service = Service {
        gateway: &gateway,
        signals,
        reloader,
        control_plane,
        manager: manager.clone(),
        drain: effective.drain,
    };
    let served = service.run();
    let code = if served.is_ok() { 0 } else { FAILURE };
    signals.shutdown.end_by(Instant::now() + END_TIME, code);
    // The control plane ends first, so that every answer was in force.
    drop(service);
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

/// Prints to standard output, at most until `deadline`, because it may no longer be read. Nothing can be printed after
/// that.
fn print_by(text: &str, deadline: Instant) {
    let write = || {
        let write = |text: &[u8]| {
            Stream::Output.write_all(text).inspect_err(|error| {
                tracing::warn!(%error, "cannot print summary");
            })
        };
        let outbox = Outbox::start("summary", write, |_| {})?;
        outbox.put(text.as_bytes());
        if !outbox.flush(deadline) {
            return Err(io::Error::other("standard output is not read"));
        }
        standard_streams::finish(&[Stream::Output], deadline)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "cannot print summary");
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

/// Opens the registrations of the control plane, if there is one.
fn prepare_control_plane(
    effective: &Effective,
) -> Result<Option<PreparedControlPlane<'_>>, PrepareError> {
    let identities = match &effective.config.authorization {
        Authorization::Identities(identities) => identities.as_slice(),
        Authorization::AnyIdentity | Authorization::Custom(_) => &[],
    };
    effective
        .control_plane
        .as_ref()
        .map(|config| PreparedControlPlane::open(config, identities))
        .transpose()
}

/// Logs the effective configuration.
fn announce(config: &Config, gateway: &Gateway, control_plane: Option<&RunningControlPlane>) {
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
    for address in control_plane.map_or(&[][..], RunningControlPlane::addresses) {
        tracing::info!(%address, "serving control plane");
    }
    if let Some(address) = addresses.metrics {
        tracing::info!(url = %format_args!("http://{address}/metrics"), "serving metrics");
    }
}

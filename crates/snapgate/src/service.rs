//! A gateway in service: its reactions to signals, until it stops.
//!
//! The thread that runs this waits only for the channels that it selects from.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, never, select};
use snapgate_control::rpc::ControlFailure;

use crate::config::options::DrainTimes;
use crate::control_plane::RunningControlPlane;
use crate::drain::ASK_INTERVAL;
use crate::gateway::{Gateway, WorkerFailure};
use crate::interfaces::{InterfaceReplaced, InterfaceWatch};
use crate::pinning::PinWatch;
use crate::reload::IdentitiesReloader;
use crate::repeated_warning::RepeatedWarning;
use crate::service_manager::{self, ServiceManager};
use crate::signals::{EndSignal, Signals};
use crate::standard_streams;
use crate::turn_watch::TurnWatch;

/// Interval between log lines about the progress of a drain.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of [`PeriodicChecks`].
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Interval of the checks of refused trains, CPUs, interfaces and processes.
const HOST_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Time without a check of the identities file after which a warning is logged.
const CHECK_OVERDUE_TIME: Duration = Duration::from_secs(5);

/// A gateway in service.
pub(crate) struct Service<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) signals: &'a Signals,
    /// `None` without an identities file.
    pub(crate) reloader: Option<IdentitiesReloader>,
    pub(crate) control_plane: Option<RunningControlPlane>,
    pub(crate) manager: ServiceManager,
    pub(crate) drain: DrainTimes,
}

/// Failure that ends the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceFailure {
    #[error(transparent)]
    Worker(#[from] WorkerFailure),
    #[error(
        "the thread that reads the identities file failed, so revocations would not take effect"
    )]
    Identities,
    #[error(transparent)]
    Interface(#[from] InterfaceReplaced),
    #[error(transparent)]
    ControlPlane(#[from] ControlFailure),
    /// The thread ended without an error, which it does only when it is asked to.
    #[error("the thread of the control plane ended")]
    ControlPlaneEnded,
}

impl Service<'_> {
    /// Serves until a signal.
    ///
    /// # Errors
    ///
    /// A worker, or the thread that reads the identities file, failed.
    pub(crate) fn run(&self) -> Result<(), ServiceFailure> {
        self.manager.ready();
        let mut checks = PeriodicChecks::new(self);
        let check = crossbeam_channel::tick(CHECK_INTERVAL);
        let reloader_ended = self.reloader_ended();
        let control_plane_failed = self.control_plane_failures();
        let signal = loop {
            select! {
                recv(self.signals.ends) -> signal => match signal {
                    Ok(signal) => break signal,
                    // The signal thread is gone, so no signal could stop the gateway any more.
                    Err(_) => break EndSignal::Interrupt,
                },
                recv(self.signals.hangups) -> _ => self.reload(),
                recv(check) -> _ => checks.run()?,
                recv(reloader_ended) -> _ => return Err(ServiceFailure::Identities),
                recv(control_plane_failed) -> failure => return Err(control_plane_failure(failure)),
                recv(self.gateway.failures()) -> failure => return worker_failure(failure.ok()),
            }
        };
        if signal == EndSignal::Terminate && !self.drain.timeout.is_zero() {
            return self.drain(checks);
        }
        self.manager.stopping();
        tracing::info!(%signal, "stopping");
        Ok(())
    }

    /// Returns a channel that is closed when the thread that reads the identities file has ended.
    fn reloader_ended(&self) -> Receiver<Infallible> {
        self.reloader
            .as_ref()
            .map_or_else(never, |reloader| reloader.ended().clone())
    }

    /// Returns the channel that receives a failure of the control plane.
    fn control_plane_failures(&self) -> Receiver<ControlFailure> {
        self.control_plane
            .as_ref()
            .map_or_else(never, |control_plane| control_plane.failures().clone())
    }

    fn reload(&self) {
        self.manager.reloading();
        match &self.reloader {
            Some(reloader) => {
                // Logged first, so that this line precedes the reloader's. Logging does not block.
                tracing::info!("reloading identities");
                reloader.reload();
            }
            None => {
                tracing::info!(reason = "there is no identities file", "nothing to reload");
                self.manager.reloaded(
                    "Nothing to reload: there is no identities file, and other settings take effect at a restart.",
                );
            }
        }
    }

    /// Serves existing tunnels until they are idle, the timeout has passed, or another signal arrives.
    fn drain(&self, mut checks: PeriodicChecks) -> Result<(), ServiceFailure> {
        let DrainTimes {
            timeout,
            idle_after,
        } = self.drain;
        let deadline = Instant::now() + timeout;
        if let Some(control_plane) = &self.control_plane {
            control_plane.refuse_new_identities();
        }
        let mut drain = self.gateway.begin_drain(idle_after);
        self.signals.shutdown.drain_until(deadline);
        self.manager.stopping();
        tracing::info!(signal = %EndSignal::Terminate, ?idle_after, ?timeout, "draining");
        let time_is_up = crossbeam_channel::at(deadline);
        let ask = crossbeam_channel::tick(ASK_INTERVAL);
        let check = crossbeam_channel::tick(CHECK_INTERVAL);
        let reloader_ended = self.reloader_ended();
        let control_plane_failed = self.control_plane_failures();
        // Unknown until every worker has answered.
        let mut active_tunnels: Option<usize> = None;
        let mut report_at = Instant::now();
        loop {
            select! {
                recv(drain.answers()) -> answer => {
                    let Some(tunnels) = answer.ok().and_then(|answer| drain.note(&answer)) else {
                        continue;
                    };
                    active_tunnels = Some(tunnels);
                    if tunnels == 0 {
                        tracing::info!("drained");
                        return Ok(());
                    }
                    let now = Instant::now();
                    if now >= report_at {
                        report_at = now + REPORT_INTERVAL;
                        self.report_drain(tunnels, deadline.saturating_duration_since(now));
                    }
                }
                recv(ask) -> _ => drain.ask(),
                recv(check) -> _ => checks.run()?,
                recv(time_is_up) -> _ => {
                    tracing::warn!(?timeout, active_tunnels, "drain timed out");
                    return Ok(());
                }
                recv(self.signals.ends) -> signal => {
                    if let Ok(signal) = signal {
                        tracing::warn!(%signal, active_tunnels, "drain interrupted");
                    }
                    return Ok(());
                }
                recv(self.signals.hangups) -> _ => self.reload(),
                recv(reloader_ended) -> _ => return Err(ServiceFailure::Identities),
                recv(control_plane_failed) -> failure => return Err(control_plane_failure(failure)),
                recv(self.gateway.failures()) -> failure => return worker_failure(failure.ok()),
            }
        }
    }

    fn report_drain(&self, active_tunnels: usize, remaining: Duration) {
        let remaining = Duration::from_secs(remaining.as_secs());
        tracing::info!(active_tunnels, ?remaining, "drain progress");
        self.manager.status(&format!(
            "Draining for at most {remaining:?}. Active tunnels: {active_tunnels}."
        ));
    }
}

/// Periodic checks of the thread that reads the identities file, of refused trains, of CPUs and network interfaces, of
/// the processes that write output, and of the workers, for the service manager's watchdog.
struct PeriodicChecks<'a> {
    gateway: &'a Gateway,
    manager: ServiceManager,
    has_identities_file: bool,
    /// Last check of the identities file, and when it was first seen.
    check: (i64, Instant),
    check_warning: RepeatedWarning,
    turns: TurnWatch,
    warned_of_gso: bool,
    pins: PinWatch,
    interfaces: InterfaceWatch,
    host_check_due: Instant,
    /// Half of the manager's interval, as sd_watchdog_enabled(3) recommends.
    watchdog_interval: Option<Duration>,
    watchdog_due: Instant,
}

impl<'a> PeriodicChecks<'a> {
    fn new(service: &Service<'a>) -> Self {
        let now = Instant::now();
        Self {
            gateway: service.gateway,
            manager: service.manager.clone(),
            has_identities_file: service.reloader.is_some(),
            check: (0, now),
            check_warning: RepeatedWarning::default(),
            turns: service.gateway.turn_watch(now),
            warned_of_gso: false,
            pins: service.gateway.pin_watch(),
            interfaces: service.gateway.interface_watch(),
            host_check_due: now,
            watchdog_interval: service_manager::watchdog_interval().map(|interval| interval / 2),
            watchdog_due: now,
        }
    }

    /// Fails if the gateway cannot serve any more.
    fn run(&mut self) -> Result<(), ServiceFailure> {
        let now = Instant::now();
        if self.has_identities_file
            && let Some(registry) = self.gateway.registry()
        {
            self.watch_identities_file(registry.status().last_check, now);
        }
        if now >= self.host_check_due {
            self.host_check_due = now + HOST_CHECK_INTERVAL;
            self.watch_gso();
            self.pins.check();
            self.interfaces.check(now)?;
            standard_streams::check();
        }
        // The workers are checked every time, so that a hanging worker is detected in time.
        if let Some(interval) = self.watchdog_interval
            && self.turns.hanging(now).is_empty()
            && now >= self.watchdog_due
        {
            self.watchdog_due = now + interval;
            self.manager.alive();
        }
        Ok(())
    }

    /// Warns once if the kernel refuses trains. Workers do not log.
    fn watch_gso(&mut self) {
        if self.warned_of_gso {
            return;
        }
        let workers = self.gateway.counters();
        let destinations: u64 = workers
            .iter()
            .map(|worker| worker.destinations_without_gso)
            .sum();
        if destinations > 0 {
            self.warned_of_gso = true;
            tracing::warn!(
                destinations,
                hint = "nothing is lost, but each packet costs more; snapgate_destinations_without_gso has the current number",
                "kernel refuses trains, sending single datagrams"
            );
        }
    }

    /// Warns if the identities file is not checked. The thread that checks it cannot: it waits for the file system.
    fn watch_identities_file(&mut self, last_check: i64, now: Instant) {
        if last_check != self.check.0 {
            self.check = (last_check, now);
            return;
        }
        let overdue = now.saturating_duration_since(self.check.1);
        if overdue >= CHECK_OVERDUE_TIME && self.check_warning.is_due(now) {
            tracing::warn!(
                overdue = ?Duration::from_secs(overdue.as_secs()),
                reason = "its file system does not respond, or the file changes constantly",
                "identities file not checked"
            );
        }
    }
}

fn control_plane_failure(failure: Result<ControlFailure, RecvError>) -> ServiceFailure {
    failure.map_or(ServiceFailure::ControlPlaneEnded, Into::into)
}

fn worker_failure(failure: Option<WorkerFailure>) -> Result<(), ServiceFailure> {
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

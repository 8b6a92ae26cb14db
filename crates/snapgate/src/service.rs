//! A gateway in service: what it does on signals, until it ends.
//!
//! The thread that runs this waits for nothing but the channels that it selects from.

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, never, select};

use self::clock_step::ClockSteps;
use crate::config::options::DrainTimes;
use crate::gateway::{Gateway, WorkerFailure};
use crate::reload::IdentitiesReloader;
use crate::service_manager::{self, ServiceManager};
use crate::signals::{EndSignal, Signals};
use crate::turn_watch::TurnWatch;

mod clock_step;

/// How often a gateway that drains asks its workers whether tunnels still talk.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// How often it says so.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of [`PeriodicChecks`].
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// An identities file that was not checked for so long is worth a warning.
const CHECK_OVERDUE_TIME: Duration = Duration::from_secs(5);

/// How often that warning is repeated.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A gateway in service.
pub(crate) struct Service<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) signals: &'a Signals,
    /// `None` where everyone is let in.
    pub(crate) reloader: Option<IdentitiesReloader>,
    pub(crate) manager: ServiceManager,
    pub(crate) drain: DrainTimes,
}

/// Why a gateway cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceFailure {
    #[error(transparent)]
    Worker(#[from] WorkerFailure),
    #[error("the thread that reads the identities file failed: revocations would not be applied")]
    Identities,
}

impl Service<'_> {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    ///
    /// A worker failed, or the thread that follows the identities.
    pub(crate) fn run(&self) -> Result<(), ServiceFailure> {
        self.manager.ready();
        let mut checks = PeriodicChecks::new(self);
        let check = crossbeam_channel::tick(CHECK_INTERVAL);
        let reloader_ended = self.reloader_ended();
        let signal = loop {
            select! {
                recv(self.signals.ends) -> signal => match signal {
                    Ok(signal) => break signal,
                    // The thread that waits for them is gone: nobody could end the gateway any more.
                    Err(_) => break EndSignal::Interrupt,
                },
                recv(self.signals.hangups) -> _ => self.reload(),
                recv(check) -> _ => checks.run(),
                recv(reloader_ended) -> _ => return Err(ServiceFailure::Identities),
                recv(self.gateway.failures()) -> failure => return worker_failure(failure.ok()),
            }
        };
        if signal == EndSignal::Terminate && !self.drain.timeout.is_zero() {
            return self.drain(checks);
        }
        self.manager.stopping();
        tracing::info!("stopping on {signal}");
        Ok(())
    }

    /// Is closed when the thread that reads the identities has ended.
    fn reloader_ended(&self) -> Receiver<Infallible> {
        self.reloader
            .as_ref()
            .map_or_else(never, |reloader| reloader.ended().clone())
    }

    fn reload(&self) {
        self.manager.reloading();
        match &self.reloader {
            Some(reloader) => {
                // Logged first, so that this line comes before the reloader's. Logging does not block.
                tracing::info!("reloading the identities; other settings take a restart");
                reloader.reload();
            }
            None => {
                let nothing = "there is nothing to reload: everyone is let in (--allow-any-identity), and \
                               other settings take a restart";
                tracing::info!("{nothing}");
                self.manager.reloaded(nothing);
            }
        }
    }

    /// Serves existing tunnels until none of them talks, the time is up, or another signal.
    fn drain(&self, mut checks: PeriodicChecks) -> Result<(), ServiceFailure> {
        let DrainTimes {
            timeout,
            idle_after,
        } = self.drain;
        let deadline = Instant::now() + timeout;
        let mut drain = self.gateway.drain(idle_after);
        self.signals.shutdown.drain_until(deadline);
        self.manager.stopping();
        tracing::info!(
            "draining on {}: no new tunnels, and an end when no data passed any tunnel for \
             {idle_after:?}, or in {timeout:?}",
            EndSignal::Terminate
        );
        let time_is_up = crossbeam_channel::at(deadline);
        let ask = crossbeam_channel::tick(ASK_INTERVAL);
        let check = crossbeam_channel::tick(CHECK_INTERVAL);
        let reloader_ended = self.reloader_ended();
        let mut talking = None;
        let mut report_at = Instant::now();
        loop {
            select! {
                recv(drain.answers()) -> answer => {
                    let Some(tunnels) = answer.ok().and_then(|answer| drain.note(&answer)) else {
                        continue;
                    };
                    talking = Some(tunnels);
                    if tunnels == 0 {
                        tracing::info!("drained: no tunnel talks");
                        return Ok(());
                    }
                    let now = Instant::now();
                    if now >= report_at {
                        report_at = now + REPORT_INTERVAL;
                        let left = deadline.saturating_duration_since(now).as_secs();
                        let status = format!("draining: tunnels that talk: {tunnels}; seconds left: {left}");
                        tracing::info!("{status}");
                        self.manager.status(&status);
                    }
                }
                recv(ask) -> _ => drain.ask(),
                recv(check) -> _ => checks.run(),
                recv(time_is_up) -> _ => {
                    tracing::warn!("stopping after {timeout:?}: tunnels that still talked: {}", count_or_unknown(talking));
                    return Ok(());
                }
                recv(self.signals.ends) -> signal => {
                    if let Ok(signal) = signal {
                        tracing::warn!("stopping on {signal}: tunnels that still talked: {}", count_or_unknown(talking));
                    }
                    return Ok(());
                }
                recv(self.signals.hangups) -> _ => self.reload(),
                recv(reloader_ended) -> _ => return Err(ServiceFailure::Identities),
                recv(self.gateway.failures()) -> failure => return worker_failure(failure.ok()),
            }
        }
    }
}

/// Periodic checks of the system clock, for grants that expire by it, of the thread that follows the identities file,
/// and of the workers, for the service manager's watchdog.
struct PeriodicChecks<'a> {
    gateway: &'a Gateway,
    manager: ServiceManager,
    clock: ClockSteps,
    /// The last check of the identities file, and when it was first seen.
    check: (i64, Instant),
    check_warned_at: Option<Instant>,
    turns: TurnWatch,
    /// Half of what the manager asks for, as sd_watchdog_enabled(3) recommends.
    watchdog_interval: Option<Duration>,
    watchdog_due: Instant,
}

impl<'a> PeriodicChecks<'a> {
    fn new(service: &Service<'a>) -> Self {
        let now = Instant::now();
        Self {
            gateway: service.gateway,
            manager: service.manager.clone(),
            clock: ClockSteps::new(now, SystemTime::now()),
            check: (0, now),
            check_warned_at: None,
            turns: service.gateway.turn_watch(now),
            watchdog_interval: service_manager::watchdog_interval().map(|interval| interval / 2),
            watchdog_due: now,
        }
    }

    fn run(&mut self) {
        let now = Instant::now();
        let clock_was_set = self.clock.stepped(now, SystemTime::now());
        if let Some(list) = self.gateway.identity_list() {
            if clock_was_set {
                list.ask_again();
                tracing::warn!(
                    "the clock of the day was set: looking again at which identities expired"
                );
            }
            self.watch_identities_file(list.status().last_check, now);
        }
        let Some(interval) = self.watchdog_interval else {
            return;
        };
        // Looked at every time, so that a worker that hangs is noticed in time.
        if self.turns.hanging(now).is_empty() && now >= self.watchdog_due {
            self.watchdog_due = now + interval;
            self.manager.alive();
        }
    }

    /// The thread that checks the identities file waits for the file system, and says nothing meanwhile.
    fn watch_identities_file(&mut self, last_check: i64, now: Instant) {
        if last_check != self.check.0 {
            self.check = (last_check, now);
            return;
        }
        let overdue = now.saturating_duration_since(self.check.1);
        let is_due = |at| now.saturating_duration_since(at) >= WARNING_INTERVAL;
        if overdue >= CHECK_OVERDUE_TIME && self.check_warned_at.is_none_or(is_due) {
            self.check_warned_at = Some(now);
            tracing::warn!(
                "the identities file was not checked for {} s: its file system does not answer, or the file \
                 changes all the time; the identities that were read last stay in force",
                overdue.as_secs()
            );
        }
    }
}

fn worker_failure(failure: Option<WorkerFailure>) -> Result<(), ServiceFailure> {
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

fn count_or_unknown(talking: Option<usize>) -> String {
    talking.map_or_else(|| "not known".to_owned(), |tunnels| tunnels.to_string())
}

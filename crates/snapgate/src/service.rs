//! A gateway in service: what it does on signals, until it ends.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use crate::drain::DrainTimes;
use crate::gateway::{Gateway, WorkerFailure};
use crate::reload::IdentitiesReloader;
use crate::service_manager;
use crate::signals::Signal;

/// How often a gateway that drains asks its workers whether tunnels still talk.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// How often it says so.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A gateway in service.
pub(crate) struct Service<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) signals: Receiver<Signal>,
    /// `None` where everyone is let in.
    pub(crate) reloader: Option<IdentitiesReloader>,
    pub(crate) drain: DrainTimes,
}

impl Service<'_> {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    ///
    /// A worker failed.
    pub(crate) fn run(&self) -> Result<(), WorkerFailure> {
        service_manager::ready();
        let signal = loop {
            select! {
                recv(self.signals) -> signal => match signal {
                    Ok(Signal::Hangup) => self.reload(),
                    Ok(signal) => break signal,
                    // The thread that waits for them is gone: nobody could end the gateway any more.
                    Err(_) => break Signal::Interrupt,
                },
                recv(self.gateway.failures()) -> failure => return failure.map_or(Ok(()), Err),
            }
        };
        service_manager::stopping();
        if signal == Signal::Terminate && !self.drain.timeout.is_zero() {
            return self.drain();
        }
        tracing::info!("stopping on {signal}");
        Ok(())
    }

    fn reload(&self) {
        service_manager::reloading();
        match &self.reloader {
            Some(reloader) => {
                tracing::info!("reloading the identities; other settings take a restart");
                reloader.reload();
            }
            None => {
                let nothing = "there is nothing to reload: everyone is let in (--allow-any-identity), and \
                               other settings take a restart";
                tracing::info!("{nothing}");
                service_manager::reloaded(nothing);
            }
        }
    }

    /// Serves existing tunnels until none of them talks, the time is up, or another signal.
    fn drain(&self) -> Result<(), WorkerFailure> {
        let DrainTimes {
            timeout,
            idle_after,
        } = self.drain;
        tracing::info!(
            "draining on {}: no new tunnels, and an end when no data passed any tunnel for \
             {idle_after:?}, or in {timeout:?}",
            Signal::Terminate
        );
        let deadline = Instant::now() + timeout;
        let time_is_up = crossbeam_channel::at(deadline);
        let ask = crossbeam_channel::tick(ASK_INTERVAL);
        let mut drain = self.gateway.drain(idle_after);
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
                        service_manager::status(&status);
                    }
                }
                recv(ask) -> _ => drain.ask(),
                recv(time_is_up) -> _ => {
                    tracing::warn!("stopping after {timeout:?}: tunnels that still talked: {}", told(talking));
                    return Ok(());
                }
                recv(self.signals) -> signal => match signal {
                    Ok(Signal::Hangup) => self.reload(),
                    Ok(signal) => {
                        tracing::warn!("stopping on {signal}: tunnels that still talked: {}", told(talking));
                        return Ok(());
                    }
                    Err(_) => return Ok(()),
                },
                recv(self.gateway.failures()) -> failure => return failure.map_or(Ok(()), Err),
            }
        }
    }
}

fn told(talking: Option<usize>) -> String {
    talking.map_or_else(|| "not known".to_owned(), |tunnels| tunnels.to_string())
}

//! One measurement with tunnels that are connected.

use std::sync::OnceLock;
use std::time::Duration;

use crate::config::{LoadConfig, Presence, Rate};
use crate::error::ConfigError;
use crate::pacing::Nanos;

/// What is sent in one measurement, and for how long. [`LoadConfig`] says everything else.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Trial {
    /// How fast packets are sent.
    pub rate: Rate,
    /// How long packets are sent before they are counted.
    pub warm_up: Duration,
    /// How long packets are sent and counted.
    pub duration: Duration,
}

/// The highest rate: a packet a nanosecond, the resolution of the schedule.
pub(crate) const MAX_RATE_PPS: u64 = 1_000_000_000;

/// The longest trial. Scheduled times are counted in nanoseconds in 48 bits, and connecting,
/// draining and other trials take their time as well.
pub(crate) const MAX_HOURS: u64 = 72;

const _: () = assert!(MAX_HOURS * 3600 * 1_000_000_000 < crate::stamp::U48_END);

impl LoadConfig {
    /// The one trial of a run.
    #[must_use]
    pub fn trial(&self) -> Trial {
        Trial {
            rate: self.rate,
            warm_up: self.warm_up,
            duration: self.duration,
        }
    }
}

impl Trial {
    /// Looks for what cannot work.
    pub(crate) fn check(&self, config: &LoadConfig) -> Result<(), ConfigError> {
        let is_possible = |pps: f64| pps > 0.0 && pps <= MAX_RATE_PPS as f64;
        match self.rate {
            Rate::PerSecond(pps) if !is_possible(pps) => {
                return Err(ConfigError::BadRate { max: MAX_RATE_PPS });
            }
            Rate::Max { window } => {
                let min = u32::try_from(config.threads)
                    .unwrap_or(u32::MAX)
                    .saturating_mul(config.effective_train());
                if window < min {
                    return Err(ConfigError::BadWindow { window, min });
                }
            }
            Rate::Ramp { from, to, .. } if ![from, to].into_iter().all(is_possible) => {
                return Err(ConfigError::BadRate { max: MAX_RATE_PPS });
            }
            Rate::PerSecond(_) | Rate::Ramp { .. } => {}
        }
        if config.presence != Presence::Throughout && matches!(self.rate, Rate::Max { .. }) {
            return Err(ConfigError::ComingsWithoutSchedule);
        }
        let longest = Duration::from_secs(MAX_HOURS * 3600);
        if self.duration.is_zero() || self.duration.saturating_add(self.warm_up) > longest {
            return Err(ConfigError::BadDuration {
                max_hours: MAX_HOURS,
            });
        }
        Ok(())
    }

    /// The offered rate over all threads, the mean of a ramp.
    pub(crate) fn offered_pps(&self) -> Option<f64> {
        match self.rate {
            Rate::PerSecond(pps) => Some(pps),
            Rate::Ramp { from, to, .. } => Some(f64::midpoint(from, to)),
            Rate::Max { .. } => None,
        }
    }
}

/// A trial that all threads have to carry out.
#[derive(Debug)]
pub(crate) struct TrialOrder {
    pub(crate) trial: Trial,
    /// When packets begin to be sent; set when all threads are ready.
    start: OnceLock<Nanos>,
}

impl TrialOrder {
    pub(crate) fn new(trial: Trial) -> Self {
        Self {
            trial,
            start: OnceLock::new(),
        }
    }

    /// Lets all threads begin at this time.
    pub(crate) fn start_at(&self, time: Nanos) {
        // Set once, by the one thread that waits for the others.
        let _ = self.start.set(time);
    }

    pub(crate) fn start(&self) -> Option<Nanos> {
        self.start.get().copied()
    }
}

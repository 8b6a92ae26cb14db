//! One measurement with tunnels that are connected.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{Direction, LoadConfig, Presence, Rate};
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

/// What a packet takes besides its own bytes when it is encrypted beforehand: SNAPtun's 32, and what
/// memory and lists need.
pub(crate) const PREPARED_OVERHEAD_BYTES: u64 = 32 + 112;

/// The longest trial whose packets are encrypted beforehand: a session holds for 180 s, and
/// encrypting takes its time.
const MAX_PRE_ENCRYPTED: Duration = Duration::from_secs(120);

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
        self.check_pre_encryption(config)?;
        let longest = Duration::from_secs(MAX_HOURS * 3600);
        if self.duration.is_zero() || self.duration.saturating_add(self.warm_up) > longest {
            return Err(ConfigError::BadDuration {
                max_hours: MAX_HOURS,
            });
        }
        Ok(())
    }

    /// Whether what is to be encrypted beforehand is possible, and has room.
    fn check_pre_encryption(&self, config: &LoadConfig) -> Result<(), ConfigError> {
        let Some(allowed_bytes) = config.pre_encrypt_bytes else {
            return Ok(());
        };
        if matches!(config.direction, Direction::Down { .. }) {
            return Err(ConfigError::NothingToPreEncrypt);
        }
        if config.presence != Presence::Throughout || config.rekey_at.is_some() {
            return Err(ConfigError::PreEncryptedSessionsEnd);
        }
        let time = self.warm_up.saturating_add(self.duration);
        if time > MAX_PRE_ENCRYPTED {
            return Err(ConfigError::PreEncryptedTooLong {
                max_seconds: MAX_PRE_ENCRYPTED.as_secs(),
            });
        }
        let packet_bytes = config.mean_size() as f64 + PREPARED_OVERHEAD_BYTES as f64;
        let needed_bytes = match self.offered_pps() {
            Some(pps) => pps * time.as_secs_f64() * packet_bytes,
            // A closed loop takes what there is: a train per thread at least.
            None => packet_bytes * f64::from(config.effective_train()) * config.threads as f64,
        };
        if needed_bytes > allowed_bytes as f64 {
            return Err(ConfigError::PreEncryptMemory {
                needed_mib: (needed_bytes / f64::from(1 << 20)).ceil() as u64,
                allowed_mib: allowed_bytes >> 20,
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
    /// Whether a thread has nothing to send any more.
    ended: AtomicBool,
}

impl TrialOrder {
    pub(crate) fn new(trial: Trial) -> Self {
        Self {
            trial,
            start: OnceLock::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Lets all threads begin at this time.
    pub(crate) fn start_at(&self, time: Nanos) {
        // Set once, by the one thread that waits for the others.
        let _ = self.start.set(time);
    }

    /// Lets all threads stop sending.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn start(&self) -> Option<Nanos> {
        self.start.get().copied()
    }
}

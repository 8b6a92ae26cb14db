//! One measurement with connected tunnels.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{Direction, LoadConfig, Presence, Rate};
use crate::error::ConfigError;
use crate::pacing::Nanos;

/// Rate and duration of one measurement. [`LoadConfig`] has all other settings.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Trial {
    /// Send rate.
    pub rate: Rate,
    /// Duration of the warm-up, in which packets are sent but not counted.
    pub warm_up: Duration,
    /// Duration of the measurement, in which packets are sent and counted.
    pub duration: Duration,
}

/// Highest rate: one packet per nanosecond, the resolution of the schedule.
pub(crate) const MAX_RATE_PPS: u64 = 1_000_000_000;

/// Memory for a pre-encrypted packet besides its own bytes: SNAPtun's 32 bytes, allocation and lists.
pub(crate) const PREPARED_OVERHEAD_BYTES: u64 = 32 + 112;

/// Longest trial with pre-encrypted packets: a session lasts 180 s, and encryption takes time.
const MAX_PRE_ENCRYPTED: Duration = Duration::from_secs(120);

/// Longest trial. Scheduled times are nanoseconds in 48 bits (78 hours), which also have to cover connecting, draining
/// and other trials.
pub(crate) const MAX_HOURS: u64 = 72;

const _: () = assert!(MAX_HOURS * 3600 * 1_000_000_000 < crate::stamp::U48_END);

impl LoadConfig {
    /// Returns the one trial of a run.
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
    /// Checks for settings that cannot work.
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
            return Err(ConfigError::PresenceNeedsRate);
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

    /// Checks that pre-encryption is possible and that its packets fit into memory.
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
            // A closed loop uses the memory there is, at least for one train per thread.
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

    /// Returns the offered rate over all threads, the mean for a ramp; `None` for a closed loop.
    pub(crate) fn offered_pps(&self) -> Option<f64> {
        match self.rate {
            Rate::PerSecond(pps) => Some(pps),
            Rate::Ramp { from, to, .. } => Some(f64::midpoint(from, to)),
            Rate::Max { .. } => None,
        }
    }
}

/// A trial that all threads run, with its shared state.
#[derive(Debug)]
pub(crate) struct TrialOrder {
    pub(crate) trial: Trial,
    /// When sending starts; set when all threads are ready.
    start: OnceLock<Nanos>,
    /// Set when a thread has used up its packets.
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

    /// Sets the time at which all threads start to send.
    pub(crate) fn start_at(&self, time: Nanos) {
        // Called once, by the thread that waits for the others.
        let _ = self.start.set(time);
    }

    /// Ends sending on all threads.
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

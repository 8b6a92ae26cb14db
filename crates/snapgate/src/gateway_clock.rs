//! The clock of a gateway's tunnels.

use std::time::{Duration, Instant};

use rustix::time::ClockId;

use crate::kernel_clock;

/// A monotonic clock that counts the time in which the host is suspended: CLOCK_BOOTTIME as an [`Instant`], which by
/// itself does not count it. Everything that is compared with times of a shard is read from this clock.
#[derive(Clone, Debug)]
pub(crate) struct GatewayClock {
    started: Instant,
    /// Boot time at `started`.
    started_boottime: Duration,
    #[cfg(test)]
    leaps: Leaps,
}

impl GatewayClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            started_boottime: kernel_clock::read(ClockId::Boottime),
            #[cfg(test)]
            leaps: Leaps::default(),
        }
    }

    /// Returns the current time. Costs as much as `Instant::now`: the kernel's vDSO answers without a system call.
    pub(crate) fn now(&self) -> Instant {
        let boottime = kernel_clock::read(ClockId::Boottime);
        let now = self.started + boottime.saturating_sub(self.started_boottime);
        #[cfg(test)]
        let now = now + self.leaps.total();
        now
    }
}

/// Simulated suspensions of the host.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaps(std::sync::Arc<std::sync::atomic::AtomicU64>);

#[cfg(test)]
impl Leaps {
    /// Returns a clock that leaps.
    pub(crate) fn clock(&self) -> GatewayClock {
        GatewayClock {
            leaps: self.clone(),
            ..GatewayClock::start()
        }
    }

    /// Leaps by a number of seconds.
    pub(crate) fn leap(&self, seconds: u64) {
        self.0
            .fetch_add(seconds, std::sync::atomic::Ordering::Relaxed);
    }

    fn total(&self) -> Duration {
        Duration::from_secs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_advances_with_the_kernels_clock_that_counts_suspension() {
        let clock = GatewayClock::start();
        let before = kernel_clock::read(ClockId::Boottime);
        let (first, second) = (clock.now(), clock.now());
        let after = kernel_clock::read(ClockId::Boottime);
        assert!(clock.started <= first && first <= second);
        let elapsed = |at: Instant| clock.started_boottime + (at - clock.started);
        assert!(before <= elapsed(first) && elapsed(second) <= after);
    }
}

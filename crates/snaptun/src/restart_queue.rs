//! The clients that the shard begins a handshake with, and how fast it does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::ShardConfig;
use crate::remembered::Remembered;
use crate::timer_round::TimerRound;

/// Handshakes that fall due while the worker does something else may be begun at once, up to those of this
/// time: at the default pace 20, which take 3 ms.
const BURST: Duration = Duration::from_millis(20);

/// The clients that the shard begins a handshake with.
pub(crate) struct RestartQueue {
    pub(crate) remembered: Remembered,
    /// In which all of them are looked at once.
    pub(crate) round: TimerRound,
    pub(crate) pace: Pace,
}

impl RestartQueue {
    pub(crate) fn new(now: Instant, config: &ShardConfig, generation: u64) -> Self {
        RestartQueue {
            remembered: Remembered::default(),
            round: TimerRound::new(now, config.timer_round, generation),
            pace: Pace::new(now, config.restart_handshakes_per_second),
        }
    }

    /// The peer at this address uses a tunnel of this process.
    pub(crate) fn forget(&mut self, remote: SocketAddr) {
        self.remembered.remove(remote);
    }

    /// When the next clients are to be looked at, if there are any.
    pub(crate) fn next_slice_at(&self) -> Option<Instant> {
        let slots = self.remembered.slots();
        (slots > 0).then(|| self.round.next_slice_at(slots))
    }
}

/// Spreads what may be done so often in a second evenly over it.
pub(crate) struct Pace {
    interval: Duration,
    /// When the next would be due if all had come evenly.
    due: Instant,
}

impl Pace {
    fn new(now: Instant, per_second: u64) -> Self {
        Pace {
            interval: Duration::from_nanos(1_000_000_000 / per_second.clamp(1, 1_000_000_000)),
            due: now,
        }
    }

    /// Whether one may be done now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = self.due.max(now);
        if due.duration_since(now) > BURST {
            return false;
        }
        self.due = due + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn a_second_has_as_many_as_configured_and_the_burst() {
        let start = Instant::now();
        for per_second in [1, 7, 1000, 1_000_000] {
            let mut pace = Pace::new(start, per_second);
            let taken = (0..=1000)
                .map(|millisecond| start + Duration::from_millis(millisecond))
                .map(|now| (0..2000).take_while(|_| pace.take(now)).count() as u64)
                .sum::<u64>();
            let burst = per_second * 20 / 1000 + 1;
            assert!(
                (per_second..=per_second + burst).contains(&taken),
                "{taken} at {per_second} a second"
            );
        }
    }
}

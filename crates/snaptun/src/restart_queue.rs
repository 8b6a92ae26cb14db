//! Remembered clients, and the rate at which the shard begins handshakes with them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::ShardConfig;
use crate::remembered::Remembered;
use crate::timer_round::TimerRound;

/// Maximum backlog of handshakes that fell due while the worker was busy and are begun at once: 20 at the default rate,
/// which take 3 ms.
const BURST: Duration = Duration::from_millis(20);

/// The clients that the shard begins handshakes with.
pub(crate) struct RestartQueue {
    pub(crate) remembered: Remembered,
    /// Round in which every remembered client is visited once. Its generation is the number of new grants.
    pub(crate) round: TimerRound,
    pub(crate) pace: Pace,
}

impl RestartQueue {
    pub(crate) fn new(now: Instant, config: &ShardConfig, new_grants: u64) -> Self {
        RestartQueue {
            remembered: Remembered::default(),
            round: TimerRound::new(now, config.timer_round, new_grants),
            pace: Pace::new(now, config.restart_handshakes_per_second),
        }
    }

    /// Removes a client that uses a tunnel of this process.
    pub(crate) fn forget(&mut self, remote: SocketAddr) {
        self.remembered.remove(remote);
    }

    /// Returns the time of the next visit to remembered clients, if there are any.
    pub(crate) fn next_slice_at(&self) -> Option<Instant> {
        let slots = self.remembered.slots();
        (slots > 0).then(|| self.round.next_slice_at(slots))
    }
}

/// Rate limit that spreads permits evenly over each second.
pub(crate) struct Pace {
    interval: Duration,
    /// Due time of the next permit at an even rate.
    due: Instant,
}

impl Pace {
    fn new(now: Instant, per_second: u64) -> Self {
        Pace {
            interval: Duration::from_nanos(1_000_000_000 / per_second.clamp(1, 1_000_000_000)),
            due: now,
        }
    }

    /// Takes a permit. Returns false if the rate is used up.
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
    fn a_second_has_the_configured_rate_plus_the_burst() {
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

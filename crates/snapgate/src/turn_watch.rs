//! Detection of workers that hang.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::counters::Published;

/// Time without a turn after which a worker hangs: its timers alone wake it more often.
pub(crate) const HANG_TIME: Duration = Duration::from_secs(5);

/// Compares the workers' numbers of turns over time.
pub(crate) struct TurnWatch {
    published: Arc<[Arc<Published>]>,
    /// For each worker the last number of turns, and when it was first seen.
    turns: Vec<(u64, Instant)>,
}

impl TurnWatch {
    pub(crate) fn new(published: Arc<[Arc<Published>]>, now: Instant) -> Self {
        let turns = vec![(u64::MAX, now); published.len()];
        Self { published, turns }
    }

    /// Returns the indexes of the workers without a turn for [`HANG_TIME`].
    ///
    /// A hanging worker is detected by the second call at the earliest.
    pub(crate) fn hanging(&mut self, now: Instant) -> Vec<usize> {
        let mut hanging = Vec::new();
        for (worker, (published, (turns, since))) in
            self.published.iter().zip(&mut self.turns).enumerate()
        {
            let current = published.snapshot().turns;
            if current != *turns {
                (*turns, *since) = (current, now);
            } else if now.duration_since(*since) > HANG_TIME {
                hanging.push(worker);
            }
        }
        hanging
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    #[test]
    fn a_worker_without_a_turn_is_reported_as_hanging() {
        let published: Arc<[Arc<Published>]> = Arc::new([Arc::default()]);
        let start = Instant::now();
        let mut watch = TurnWatch::new(Arc::clone(&published), start);

        assert!(watch.hanging(start).is_empty());
        assert!(watch.hanging(start + HANG_TIME).is_empty());
        assert_eq!(watch.hanging(start + 2 * HANG_TIME), [0]);

        published[0].publish(&Counters {
            turns: 1,
            ..Counters::default()
        });
        assert!(watch.hanging(start + 3 * HANG_TIME).is_empty());
    }
}

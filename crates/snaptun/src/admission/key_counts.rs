//! Counts per key and second, shared by all shards, in memory that does not grow with the number of keys.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

/// Number of counts in each of the two rows.
const COLUMNS: usize = 1 << 14;

/// Number of a second since the limits were created. 32 bits last for 136 years.
pub(crate) type Second = u32;

/// Count of the events in the latest second with an event.
///
/// The upper half of the word is that second, the lower half the count, so no thread has to reset it. A shard whose
/// batch began in an earlier second counts in the later one.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn get(&self, second: Second) -> u32 {
        let (latest, count) = unpack(self.0.load(Ordering::Relaxed));
        if latest < second { 0 } else { count }
    }

    /// Adds one and returns the new count.
    pub(crate) fn add(&self, second: Second) -> u32 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (latest, count) = unpack(word);
            let added = if latest < second {
                (second, 1)
            } else {
                (latest, count.saturating_add(1))
            };
            match self.0.compare_exchange_weak(
                word,
                pack(added),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return added.1,
                Err(changed) => word = changed,
            }
        }
    }

    /// Adds one if the count is below `limit`, and returns true if it did. Concurrent calls may exceed the limit by one
    /// each.
    pub(crate) fn take(&self, second: Second, limit: u64) -> bool {
        let may = u64::from(self.get(second)) < limit;
        if may {
            self.add(second);
        }
        may
    }
}

/// Counts by key.
///
/// A keyed hash picks one count per row for each key, and the lower of the two is the key's count. A key never gets
/// more than its limit. It gets less only if it shares both counts with keys that send a lot, which attackers cannot
/// choose, because they do not know the hash key.
pub(crate) struct KeyCounts {
    rows: [Box<[Count]>; 2],
    hasher: RandomState,
}

impl KeyCounts {
    pub(crate) fn new(hasher: RandomState) -> Self {
        let row = || (0..COLUMNS).map(|_| Count::default()).collect();
        KeyCounts {
            rows: [row(), row()],
            hasher,
        }
    }

    /// Returns the count of the key, or slightly more.
    pub(crate) fn get(&self, second: Second, key: &impl Hash) -> u32 {
        let [one, other] = self.of(key);
        one.get(second).min(other.get(second))
    }

    /// Adds one to the count of the key, and returns the new count or slightly more.
    pub(crate) fn add(&self, second: Second, key: &impl Hash) -> u32 {
        let [one, other] = self.of(key);
        one.add(second).min(other.add(second))
    }

    /// Adds one if the count of the key is below `limit`, and returns true if it did. Concurrent calls may exceed the
    /// limit by one each.
    pub(crate) fn take(&self, second: Second, key: &impl Hash, limit: u64) -> bool {
        let may = u64::from(self.get(second, key)) < limit;
        if may {
            self.add(second, key);
        }
        may
    }

    fn of(&self, key: &impl Hash) -> [&Count; 2] {
        let hash = self.hasher.hash_one(key);
        [
            &self.rows[0][hash as usize % COLUMNS],
            &self.rows[1][(hash >> 32) as usize % COLUMNS],
        ]
    }
}

fn pack((second, count): (Second, u32)) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

fn unpack(word: u64) -> (Second, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn each_key_has_its_limit_in_every_second() {
        let counts = KeyCounts::new(RandomState::new());
        for second in [0, 1, 7] {
            for key in [1, 2] {
                assert_eq!(counts.get(second, &key), 0);
                let taken = (0..10).filter(|_| counts.take(second, &key, 3)).count();
                assert_eq!(taken, 3);
                assert_eq!(counts.get(second, &key), 3);
            }
        }
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        let counts = KeyCounts::new(RandomState::new());
        assert!(!counts.take(0, &1, 0));
        assert!(!Count::default().take(0, 0));
    }

    #[test]
    fn a_shard_in_an_earlier_second_counts_in_the_later_one() {
        let count = Count::default();
        assert_eq!(count.add(8), 1);
        assert_eq!(count.add(7), 2);
        assert_eq!(count.get(7), 2);
        assert_eq!(count.get(8), 2);
        assert_eq!(count.get(9), 0);
    }

    #[test]
    fn a_thousand_keys_at_their_limit_affect_few_others() {
        let counts = KeyCounts::new(RandomState::new());
        for key in 0..1000 {
            counts.take(0, &key, 1);
            assert!(!counts.take(0, &key, 1));
        }
        // A key shares both counts with a probability of 0.35 %.
        let held_back = (1000..2000).filter(|key| !counts.take(0, key, 1)).count();
        assert!(held_back < 100, "{held_back} of 1000");
    }

    #[test]
    fn concurrent_increments_are_not_lost() {
        const EACH: u32 = 10_000;
        let count = Count::default();
        let together = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..EACH {
                        count.add(1);
                    }
                });
            }
        });
        assert_eq!(count.get(1), 3 * EACH);
    }
}

//! A limit per key and second, in memory that does not grow with the number of keys.

use std::hash::Hash;

use ahash::RandomState;

/// Counters in each of the two rows.
const COUNTERS: usize = 1 << 14;

/// Counts by key.
///
/// Every key has one counter in each row, picked by a keyed hash, and counts for as many as the lower of
/// them says. So no key is let through more often than the limit, and one is held back wrongly only
/// when both of its counters are shared with others that send a lot; nobody can choose to share them.
pub(crate) struct KeyLimit {
    limit: u64,
    rows: [Box<[u32]>; 2],
    /// Nothing was counted since the last reset.
    clean: bool,
    hasher: RandomState,
}

impl KeyLimit {
    pub(crate) fn new(limit: u64, hasher: RandomState) -> Self {
        KeyLimit {
            limit,
            rows: [(); 2].map(|()| vec![0; COUNTERS].into()),
            clean: true,
            hasher,
        }
    }

    /// Whether the key may have no more.
    pub(crate) fn is_used_up(&self, key: &impl Hash) -> bool {
        u64::from(self.get(key)) >= self.limit
    }

    /// How many the key has, or a few more.
    pub(crate) fn get(&self, key: &impl Hash) -> u32 {
        let [first, second] = self.places(key);
        self.rows[0][first].min(self.rows[1][second])
    }

    /// Counts one more of the key if it may have one more.
    pub(crate) fn take(&mut self, key: &impl Hash) -> bool {
        if self.is_used_up(key) {
            return false;
        }
        self.count(key);
        true
    }

    /// Counts one more of the key, and returns how many that makes, or a few more.
    pub(crate) fn count(&mut self, key: &impl Hash) -> u32 {
        self.clean = false;
        let places = self.places(key);
        let counts = self.rows.iter_mut().zip(places).map(|(row, place)| {
            row[place] = row[place].saturating_add(1);
            row[place]
        });
        counts.min().unwrap_or(u32::MAX)
    }

    /// Begins to count anew.
    pub(crate) fn reset(&mut self) {
        if !std::mem::replace(&mut self.clean, true) {
            self.rows.iter_mut().for_each(|row| row.fill(0));
        }
    }

    fn places(&self, key: &impl Hash) -> [usize; 2] {
        let hash = self.hasher.hash_one(key);
        [hash as usize % COUNTERS, (hash >> 32) as usize % COUNTERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_limit_until_the_next_reset() {
        let mut limit = KeyLimit::new(3, RandomState::new());
        for _ in 0..2 {
            for key in [1, 2] {
                let taken = (0..10).filter(|_| limit.take(&key)).count();
                assert_eq!(taken, 3);
                assert!(limit.is_used_up(&key));
            }
            limit.reset();
            assert!(!limit.is_used_up(&1));
        }
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        let mut limit = KeyLimit::new(0, RandomState::new());
        assert!(!limit.take(&1));
    }

    #[test]
    fn a_thousand_keys_at_their_limit_hold_back_few_others() {
        let mut limit = KeyLimit::new(1, RandomState::new());
        for key in 0..1000 {
            limit.take(&key);
            assert!(!limit.take(&key));
        }
        // Both counters are taken with a probability of 0.35 %.
        let held_back = (1000..2000).filter(|key| !limit.take(key)).count();
        assert!(held_back < 100, "{held_back} of 1000");
    }
}

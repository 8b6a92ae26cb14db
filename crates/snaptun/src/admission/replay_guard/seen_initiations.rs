//! Recent initiations, in a lock-free set.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Words per bucket: one cache line.
const BUCKET: usize = 8;

/// Number of buckets: 2 MiB, which hold the last four minutes at 1,000 handshakes a second.
const BUCKETS: usize = 1 << 15;

/// Hashes of recently accepted initiations.
///
/// Saves the Diffie-Hellman for most replays, without a guarantee: a full bucket forgets one entry, and two threads
/// that write to one bucket at the same time may lose one.
/// [`InitiationTimes`](super::initiation_times::InitiationTimes) refuses the rest.
pub(super) struct SeenInitiations {
    /// Zero for an empty place.
    hashes: Box<[AtomicU64]>,
    /// Next place to overwrite in a full bucket.
    turn: AtomicUsize,
}

impl SeenInitiations {
    pub(super) fn new() -> Self {
        SeenInitiations {
            hashes: (0..BUCKETS * BUCKET).map(|_| AtomicU64::new(0)).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        let hash = hash.max(1);
        self.bucket(hash)
            .iter()
            .any(|seen| seen.load(Ordering::Relaxed) == hash)
    }

    pub(super) fn insert(&self, hash: u64) {
        let hash = hash.max(1);
        let bucket = self.bucket(hash);
        let empty = bucket
            .iter()
            .position(|seen| seen.load(Ordering::Relaxed) == 0);
        let place = empty.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed) % BUCKET);
        bucket[place].store(hash, Ordering::Relaxed);
    }

    fn bucket(&self, hash: u64) -> &[AtomicU64] {
        let first = hash as usize % BUCKETS * BUCKET;
        &self.hashes[first..first + BUCKET]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_hashes_are_found() {
        let seen = SeenInitiations::new();
        for hash in [0, 2, u64::MAX] {
            assert!(!seen.contains(hash));
            seen.insert(hash);
            assert!(seen.contains(hash));
        }
    }

    #[test]
    fn a_full_bucket_forgets_its_oldest_entry() {
        let seen = SeenInitiations::new();
        let in_one_bucket = |n: usize| (n * BUCKETS + 1) as u64;
        for n in 0..=BUCKET {
            seen.insert(in_one_bucket(n));
        }
        assert!(!seen.contains(in_one_bucket(0)));
        assert!((1..=BUCKET).all(|n| seen.contains(in_one_bucket(n))));
    }
}

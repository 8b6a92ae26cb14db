//! A map from identities that workers read while it changes.
//!
//! The entries are spread over buckets by a keyed hash. A change copies one bucket and replaces it, so its cost does not
//! grow with the map (about 25 entries at 100,000), and a reader holds an immutable bucket: it never waits for a writer.
//! Buckets are replaced one after the other, so a reader can see a part of an update. Each look-up concerns one identity.
//!
//! DECISIONS.md compares it with persistent maps.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

/// Static public key of a client.
pub(super) type Key = [u8; 32];

/// Number of buckets. Empty, they take 32 KiB.
const BUCKETS: usize = 4096;

/// Entries of one bucket.
type Bucket<V> = HashMap<Key, V, ahash::RandomState>;

/// The map.
pub(super) struct Table<V> {
    buckets: Box<[ArcSwap<Bucket<V>>]>,
    /// Clients choose their keys, so the hash is keyed. It differs from that within a bucket: equal bits of both would
    /// be the same for all entries of a bucket.
    hasher: ahash::RandomState,
    len: AtomicUsize,
}

impl<V: Clone> Table<V> {
    pub(super) fn new() -> Self {
        let empty = Arc::new(Bucket::default());
        Self {
            buckets: (0..BUCKETS)
                .map(|_| ArcSwap::new(Arc::clone(&empty)))
                .collect(),
            hasher: ahash::RandomState::new(),
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: &Key) -> Option<V> {
        // A source that is not used costs no look-up.
        if self.len() == 0 {
            return None;
        }
        self.buckets[self.bucket_of(key)].load().get(key).cloned()
    }

    /// Calls `visit` for every key.
    pub(super) fn for_each_key(&self, mut visit: impl FnMut(&Key)) {
        for bucket in &self.buckets {
            bucket.load().keys().for_each(&mut visit);
        }
    }

    /// Inserts entries, and removes those without a value. Of equal keys, the last counts. Only for one thread at a
    /// time.
    pub(super) fn update(&self, changes: impl IntoIterator<Item = (Key, Option<V>)>) {
        let mut changes: Vec<_> = changes
            .into_iter()
            .map(|(key, value)| (self.bucket_of(&key), key, value))
            .collect();
        // Stable, so equal keys keep their order.
        changes.sort_by_key(|(bucket, ..)| *bucket);
        for changes in changes.chunk_by(|left, right| left.0 == right.0) {
            self.update_bucket(&self.buckets[changes[0].0], changes);
        }
    }

    fn update_bucket(&self, bucket: &ArcSwap<Bucket<V>>, changes: &[(usize, Key, Option<V>)]) {
        let old = bucket.load();
        let mut new = (**old).clone();
        for (_, key, value) in changes {
            match value {
                Some(value) => new.insert(*key, value.clone()),
                None => new.remove(key),
            };
        }
        // A clone keeps the capacity.
        if new.capacity() > 4 * new.len() {
            new.shrink_to_fit();
        }
        let len = self.len() - old.len() + new.len();
        self.len.store(len, Ordering::Relaxed);
        drop(old);
        bucket.store(Arc::new(new));
    }

    fn bucket_of(&self, key: &Key) -> usize {
        self.hasher.hash_one(key) as usize % BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn keys<V: Clone>(table: &Table<V>) -> usize {
        let mut keys = 0;
        table.for_each_key(|_| keys += 1);
        keys
    }

    #[test]
    fn a_change_copies_one_bucket() {
        let table = Table::new();
        table.update((0..100_000).map(|n| (key(n), Some(n))));
        assert_eq!(table.len(), 100_000);
        let before: Vec<_> = table.buckets.iter().map(ArcSwap::load_full).collect();
        for change in [(key(7), Some(8)), (key(7), None), (key(200_000), Some(1))] {
            let buckets: Vec<_> = table.buckets.iter().map(ArcSwap::load_full).collect();
            let changed = table.bucket_of(&change.0);
            table.update([change]);
            for (n, (old, new)) in buckets.iter().zip(&table.buckets).enumerate() {
                assert_eq!(Arc::ptr_eq(old, &new.load()), n != changed);
            }
        }
        // Hashing spreads the entries: 24 on average.
        let largest = before.iter().map(|bucket| bucket.len()).max();
        assert!(largest < Some(100), "{largest:?}");
    }

    #[test]
    fn a_reader_keeps_what_it_reads() {
        let table = Table::new();
        table.update([(key(1), Some("before"))]);
        let read = table.buckets[table.bucket_of(&key(1))].load();
        table.update([(key(1), Some("after"))]);
        assert_eq!(read.get(&key(1)), Some(&"before"));
        assert_eq!(table.get(&key(1)), Some("after"));
    }

    #[test]
    fn memory_of_removed_entries_is_freed() {
        let table = Table::new();
        table.update((0..100_000).map(|n| (key(n), Some(n))));
        table.update((0..100_000).map(|n| (key(n), None)));
        let capacity: usize = table.buckets.iter().map(|b| b.load().capacity()).sum();
        assert_eq!((table.len(), keys(&table), capacity), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(
            updates in prop::collection::vec(
                prop::collection::vec((0..50_u32, prop::option::of(0..9_u8)), 0..20),
                0..20,
            ),
        ) {
            let table = Table::new();
            let mut expected = BTreeMap::new();
            for update in updates {
                table.update(update.iter().map(|(n, value)| (key(*n), *value)));
                for (n, value) in update {
                    match value {
                        Some(value) => expected.insert(n, value),
                        None => expected.remove(&n),
                    };
                }
                prop_assert_eq!((table.len(), keys(&table)), (expected.len(), expected.len()));
                for n in 0..50 {
                    prop_assert_eq!(table.get(&key(n)), expected.get(&n).copied());
                }
            }
        }
    }
}

//! The timestamps of accepted initiations, by identity.

use std::collections::HashMap;
use std::time::Duration;

use crate::initiation::Timestamp;
use crate::replay_guard::ReplayGuard;

/// Timestamps kept apart for one identity: enough for a client with 32 sockets that starts.
const RECENT_MAX: usize = 32;

/// The identities that made a handshake lately, and when.
///
/// They are in two maps, and the older is dropped when the younger is full: a list in the order of use
/// would be longer and no more exact.
pub(super) struct InitiationTimes {
    younger: HashMap<[u8; 32], Times, ahash::RandomState>,
    older: HashMap<[u8; 32], Times, ahash::RandomState>,
    /// How many identities fill a map.
    full: usize,
    /// The latest that an initiation of an identity that is in neither can have been accepted before.
    forgotten: Timestamp,
}

/// The initiations accepted of one identity.
struct Times {
    /// None that is not later is accepted any more.
    floor: Timestamp,
    /// Those above it.
    recent: Vec<Recent>,
}

struct Recent {
    timestamp: Timestamp,
    /// When it was accepted, by our clock.
    at: Duration,
}

impl InitiationTimes {
    pub(super) fn new(full: usize) -> Self {
        InitiationTimes {
            younger: HashMap::default(),
            older: HashMap::default(),
            full,
            forgotten: Timestamp::default(),
        }
    }

    pub(super) fn identities(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// Remembers the timestamp, or says that it may have been accepted before. `uptime` is the time now,
    /// and `our_clock` the same as a client with a right clock would put it.
    pub(super) fn accept(
        &mut self,
        uptime: Duration,
        our_clock: Timestamp,
        identity: &[u8; 32],
        timestamp: Timestamp,
    ) -> bool {
        if let Some(times) = self.younger.get_mut(identity) {
            return times.accept(uptime, timestamp);
        }
        let remembered = self.older.remove(identity);
        let was_remembered = remembered.is_some();
        let mut times = remembered.unwrap_or(Times {
            floor: self.forgotten,
            recent: Vec::new(),
        });
        if !times.accept(uptime, timestamp) {
            // Whoever sends old initiations again does not decide who is remembered.
            if was_remembered {
                self.older.insert(*identity, times);
            }
            return false;
        }
        if self.younger.len() >= self.full {
            self.forget_older(our_clock);
        }
        self.younger.insert(*identity, times);
        true
    }

    /// Drops the older map, whose place the younger one takes.
    fn forget_older(&mut self, our_clock: Timestamp) {
        let forgotten = std::mem::replace(&mut self.older, std::mem::take(&mut self.younger));
        for times in forgotten.into_values() {
            // A client whose clock is ahead must not keep others out.
            self.forgotten = self.forgotten.max(times.latest().min(our_clock));
        }
    }
}

impl Times {
    fn accept(&mut self, uptime: Duration, timestamp: Timestamp) -> bool {
        self.recent.retain(|recent| {
            let stays = uptime.saturating_sub(recent.at) <= ReplayGuard::REORDERING_MAX;
            if !stays {
                self.floor = self.floor.max(recent.timestamp);
            }
            stays
        });
        let known = |recent: &Recent| recent.timestamp == timestamp;
        if timestamp <= self.floor || self.recent.iter().any(known) {
            return false;
        }
        self.recent.push(Recent {
            timestamp,
            at: uptime,
        });
        if self.recent.len() > RECENT_MAX {
            self.raise_floor();
        }
        true
    }

    /// Makes room: the earliest timestamp becomes the floor.
    fn raise_floor(&mut self) {
        let earliest = (0..self.recent.len()).min_by_key(|n| self.recent[*n].timestamp);
        if let Some(earliest) = earliest {
            self.floor = self.recent.swap_remove(earliest).timestamp;
        }
    }

    fn latest(&self) -> Timestamp {
        let recent = self.recent.iter().map(|recent| recent.timestamp);
        recent.fold(self.floor, Timestamp::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn at(second: u32) -> Timestamp {
        let mut timestamp = Timestamp::default();
        timestamp.0[4..8].copy_from_slice(&second.to_be_bytes());
        timestamp
    }

    fn identity(n: u32) -> [u8; 32] {
        let mut identity = [0; 32];
        identity[..4].copy_from_slice(&n.to_be_bytes());
        identity
    }

    fn accept(times: &mut InitiationTimes, n: u32, second: u32) -> bool {
        times.accept(NOW, at(5000), &identity(n), at(second))
    }

    #[test]
    fn the_same_timestamp_is_accepted_once_of_each_identity() {
        let mut times = InitiationTimes::new(8);
        for n in 0..3 {
            assert!(accept(&mut times, n, 7));
            assert!(!accept(&mut times, n, 7));
        }
    }

    #[test]
    fn as_many_as_are_kept_come_in_any_order_and_each_once() {
        let mut times = InitiationTimes::new(8);
        // Backwards: the worst order.
        for second in (1..=RECENT_MAX as u32).rev() {
            assert!(accept(&mut times, 1, second));
        }
        for second in 1..=RECENT_MAX as u32 {
            assert!(!accept(&mut times, 1, second));
        }
    }

    #[test]
    fn of_more_the_earliest_are_refused_and_none_is_accepted_twice() {
        let mut times = InitiationTimes::new(8);
        let last = 2 * RECENT_MAX as u32;
        for second in 2..=last {
            assert!(accept(&mut times, 1, second));
        }
        for second in 1..=last {
            assert!(!accept(&mut times, 1, second));
        }
        assert!(accept(&mut times, 1, last + 1));
        assert_eq!(times.younger[&identity(1)].recent.len(), RECENT_MAX);
    }

    #[test]
    fn an_initiation_that_is_too_late_for_reordering_is_refused() {
        let mut times = InitiationTimes::new(8);
        let identity = identity(1);
        assert!(accept(&mut times, 1, 100));
        let later = NOW + ReplayGuard::REORDERING_MAX;
        assert!(times.accept(later, at(5000), &identity, at(98)));
        let too_late = later + Duration::from_nanos(1);
        assert!(!times.accept(too_late, at(5000), &identity, at(99)));
        assert!(!times.accept(too_late, at(5000), &identity, at(98)));
        assert!(times.accept(too_late, at(5000), &identity, at(101)));
        assert_eq!(times.younger[&identity].recent.len(), 2);
    }

    #[test]
    fn the_identities_of_the_latest_handshakes_are_remembered_and_no_more_than_twice_as_many() {
        let mut times = InitiationTimes::new(8);
        for n in 0..1000 {
            assert!(accept(&mut times, n, 10 + n));
            assert!(times.identities() <= 16);
            for known in n.saturating_sub(7)..=n {
                let held = times.younger.contains_key(&identity(known))
                    || times.older.contains_key(&identity(known));
                assert!(held, "{known} after {n}");
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_not_accepted_again() {
        let mut times = InitiationTimes::new(8);
        for n in 0..1000 {
            assert!(accept(&mut times, n, 10 + n));
            for old in 0..=n {
                assert!(!accept(&mut times, old, 10 + old), "{old} after {n}");
            }
        }
    }

    #[test]
    fn what_is_refused_changes_nothing_of_who_is_remembered() {
        let mut times = InitiationTimes::new(2);
        for n in 0..10 {
            assert!(accept(&mut times, n, 10 + n));
        }
        let remembered = [6, 7, 8, 9].map(|n| times.younger.contains_key(&identity(n)));
        for old in 0..10 {
            assert!(!accept(&mut times, old, 10 + old));
        }
        assert_eq!(
            remembered,
            [6, 7, 8, 9].map(|n| times.younger.contains_key(&identity(n)))
        );
        assert_eq!(times.identities(), 4);
    }

    #[test]
    fn a_clock_that_is_ahead_keeps_nobody_else_out() {
        let mut times = InitiationTimes::new(1);
        for n in 0..10 {
            assert!(accept(&mut times, n, 1_000_000));
        }
        // Our clock says 5000: right clocks are later than what was forgotten at that time.
        assert!(!accept(&mut times, 99, 5000));
        assert!(accept(&mut times, 99, 5001));
        // Those that went ahead are held to what they said while they are remembered.
        let later = NOW + 2 * ReplayGuard::REORDERING_MAX;
        assert!(!times.accept(later, at(5000), &identity(9), at(5001)));
    }
}

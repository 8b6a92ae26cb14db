//! Timestamps of accepted initiations by identity.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;

use crate::crypto::initiation::Timestamp;
use crate::drop_reason::DropReason;
use crate::protocol::REJECT_AFTER_TIME;

/// Maximum delay of an initiation behind later ones of its identity: the lifetime of a session.
pub(super) const REORDERING_MAX: Duration = REJECT_AFTER_TIME;

/// Number of timestamps kept for one identity: enough for a client that starts with 32 sockets.
const RECENT_MAX: usize = 32;

/// Number of gaps kept for one identity while the system clock is not trusted.
const GAPS_MAX: usize = 4;

/// Timestamps of the identities with the latest handshakes.
///
/// Two maps; the older is dropped when the younger is full. A list in the order of use would take more code and be no
/// more exact.
pub(super) struct InitiationTimes {
    younger: HashMap<[u8; 32], Times, RandomState>,
    older: HashMap<[u8; 32], Times, RandomState>,
    /// Number of identities that fill a map.
    full: usize,
    /// Latest accepted timestamps of forgotten identities, by hash of the identity. The timestamp of an identity in
    /// neither map must be later than the one in its place here, so identities with fast clocks affect only the few
    /// that share a place with them. Plain arrays, which the allocator zeroes without touching the memory.
    forgotten: Box<[[u8; 12]]>,
    hasher: RandomState,
}

/// Current time when an initiation arrives.
#[derive(Clone, Copy)]
pub(super) struct Present {
    /// Time since the guard was created.
    pub(super) uptime: Duration,
    /// Latest plausible timestamp; `None` while the system clock is not trusted.
    pub(super) latest_plausible: Option<Timestamp>,
}

/// Accepted initiations of one identity.
struct Times {
    /// Only later initiations are accepted.
    floor: Timestamp,
    /// Accepted timestamps above the floor.
    recent: Vec<Recent>,
    /// Only for identities with a handshake while the system clock was not trusted.
    unjudged: Option<Box<Unjudged>>,
}

struct Recent {
    timestamp: Timestamp,
    /// Time of acceptance, on the uptime clock.
    at: Duration,
}

/// State for lowering the floor if the clock, once trusted, shows that the floor is in the future.
#[derive(Default)]
struct Unjudged {
    /// Ranges without an accepted timestamp, ascending.
    gaps: Vec<Gap>,
    /// Range of accepted timestamps above the floor that were in the future, both ends included.
    ahead: Option<(Timestamp, Timestamp)>,
}

/// Range between two accepted timestamps, excluding both.
struct Gap {
    from: Timestamp,
    to: Timestamp,
}

impl InitiationTimes {
    pub(super) fn new(full: usize, hasher: RandomState) -> Self {
        InitiationTimes {
            younger: HashMap::with_hasher(hasher.clone()),
            older: HashMap::with_hasher(hasher.clone()),
            full,
            forgotten: vec![[0; 12]; full].into_boxed_slice(),
            hasher,
        }
    }

    pub(super) fn identities(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// Records the timestamp.
    ///
    /// # Errors
    /// Fails if it may have been accepted before, or is too far in the future.
    pub(super) fn accept(
        &mut self,
        present: Present,
        identity: &[u8; 32],
        timestamp: Timestamp,
    ) -> Result<(), DropReason> {
        if present.is_implausible(timestamp) {
            return Err(DropReason::FutureTimestamp);
        }
        if let Some(times) = self.younger.get_mut(identity) {
            return times.accept(present, timestamp);
        }
        let remembered = self.older.remove(identity);
        let was_remembered = remembered.is_some();
        let mut times =
            remembered.unwrap_or_else(|| Times::above(self.forgotten[self.place_of(identity)]));
        if let Err(reason) = times.accept(present, timestamp) {
            // Replayed initiations must not change which identities are remembered.
            if was_remembered {
                self.older.insert(*identity, times);
            }
            return Err(reason);
        }
        if self.younger.len() >= self.full {
            self.forget_older();
        }
        self.younger.insert(*identity, times);
        Ok(())
    }

    /// Forgets the older map and moves the younger one to its place.
    fn forget_older(&mut self) {
        let empty = HashMap::with_hasher(self.hasher.clone());
        let younger = std::mem::replace(&mut self.younger, empty);
        let forgotten = std::mem::replace(&mut self.older, younger);
        for (identity, times) in forgotten {
            let place = self.place_of(&identity);
            self.forgotten[place] = self.forgotten[place].max(times.latest().0);
        }
    }

    fn place_of(&self, identity: &[u8; 32]) -> usize {
        (self.hasher.hash_one(identity) >> 32) as usize % self.forgotten.len()
    }
}

impl Present {
    fn is_implausible(&self, timestamp: Timestamp) -> bool {
        self.latest_plausible
            .is_some_and(|latest| timestamp > latest)
    }
}

impl Gap {
    fn seconds(&self) -> u64 {
        self.to.seconds() - self.from.seconds()
    }
}

impl Times {
    fn above(floor: [u8; 12]) -> Self {
        Times {
            floor: Timestamp(floor),
            recent: Vec::new(),
            unjudged: None,
        }
    }

    fn accept(&mut self, present: Present, timestamp: Timestamp) -> Result<(), DropReason> {
        match present.latest_plausible {
            None => self.note_gap(timestamp),
            Some(latest_plausible) => self.judge(latest_plausible),
        }
        self.recent.retain(|recent| {
            let stays = present.uptime.saturating_sub(recent.at) <= REORDERING_MAX;
            if !stays {
                self.floor = self.floor.max(recent.timestamp);
            }
            stays
        });
        let known = |recent: &Recent| recent.timestamp == timestamp;
        if timestamp <= self.floor || self.recent.iter().any(known) || self.is_ahead(timestamp) {
            return Err(DropReason::ReplayedInitiation);
        }
        self.recent.push(Recent {
            timestamp,
            at: present.uptime,
        });
        if self.recent.len() > RECENT_MAX {
            self.raise_floor();
        }
        Ok(())
    }

    /// Frees an entry: the earliest timestamp becomes the floor.
    fn raise_floor(&mut self) {
        let earliest = (0..self.recent.len()).min_by_key(|n| self.recent[*n].timestamp);
        if let Some(earliest) = earliest {
            self.floor = self.recent.swap_remove(earliest).timestamp;
        }
    }

    /// Records the gap below a timestamp that cannot be checked yet. Beyond [`GAPS_MAX`] the narrowest gap is dropped.
    fn note_gap(&mut self, timestamp: Timestamp) {
        let latest = self.latest();
        let gaps = &mut self.unjudged.get_or_insert_default().gaps;
        for gap in gaps.iter_mut() {
            if gap.from < timestamp && timestamp < gap.to {
                gap.from = timestamp;
            }
        }
        if timestamp <= latest {
            return;
        }
        let (from, to) = (latest, timestamp);
        gaps.push(Gap { from, to });
        if gaps.len() > GAPS_MAX {
            let narrowest = (0..gaps.len()).min_by_key(|n| gaps[*n].seconds());
            narrowest.map(|narrowest| gaps.remove(narrowest));
        }
    }

    /// Checks timestamps accepted while the system clock was not trusted. Those in the future no longer raise the
    /// floor, but are still not accepted again.
    fn judge(&mut self, latest_plausible: Timestamp) {
        let latest = self.recent_latest();
        let Some(unjudged) = &mut self.unjudged else {
            return;
        };
        let gaps = std::mem::take(&mut unjudged.gaps);
        if latest > latest_plausible
            && let Some(gap) = gaps.iter().find(|gap| gap.to > latest_plausible)
        {
            let (from, to) = unjudged.ahead.unwrap_or((gap.to, latest));
            unjudged.ahead = Some((from.min(gap.to), to.max(latest)));
            self.floor = self.floor.min(gap.from);
            self.recent.retain(|recent| recent.timestamp < gap.to);
        }
        if unjudged.ahead.is_none() {
            self.unjudged = None;
        }
    }

    fn is_ahead(&self, timestamp: Timestamp) -> bool {
        self.ahead()
            .is_some_and(|(from, to)| from <= timestamp && timestamp <= to)
    }

    fn ahead(&self) -> Option<(Timestamp, Timestamp)> {
        self.unjudged.as_ref().and_then(|unjudged| unjudged.ahead)
    }

    /// Returns the latest accepted timestamp, except those known to be in the future.
    fn recent_latest(&self) -> Timestamp {
        let recent = self.recent.iter().map(|recent| recent.timestamp);
        recent.fold(self.floor, Timestamp::max)
    }

    /// Returns the latest accepted timestamp.
    fn latest(&self) -> Timestamp {
        let latest = self.recent_latest();
        self.ahead().map_or(latest, |(_, to)| latest.max(to))
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

    fn times(full: usize) -> InitiationTimes {
        InitiationTimes::new(full, RandomState::with_seeds(1, 2, 3, 4))
    }

    /// A trusted clock that accepts timestamps up to `latest_plausible`.
    fn trusted(latest_plausible: u32) -> Present {
        Present {
            uptime: NOW,
            latest_plausible: Some(at(latest_plausible)),
        }
    }

    const UNTRUSTED: Present = Present {
        uptime: NOW,
        latest_plausible: None,
    };

    const REPLAYED: Result<(), DropReason> = Err(DropReason::ReplayedInitiation);
    const FUTURE: Result<(), DropReason> = Err(DropReason::FutureTimestamp);

    fn accept(times: &mut InitiationTimes, n: u32, second: u32) -> bool {
        accept_at(times, NOW, n, second)
    }

    fn accept_at(times: &mut InitiationTimes, uptime: Duration, n: u32, second: u32) -> bool {
        let present = Present {
            uptime,
            ..trusted(u32::MAX)
        };
        times.accept(present, &identity(n), at(second)).is_ok()
    }

    #[test]
    fn a_timestamp_is_accepted_once_per_identity() {
        let mut times = times(8);
        for n in 0..3 {
            assert!(accept(&mut times, n, 7));
            assert!(!accept(&mut times, n, 7));
        }
    }

    #[test]
    fn timestamps_that_fit_are_accepted_in_any_order_and_once() {
        let mut times = times(8);
        // Descending: the worst order.
        for second in (1..=RECENT_MAX as u32).rev() {
            assert!(accept(&mut times, 1, second));
        }
        for second in 1..=RECENT_MAX as u32 {
            assert!(!accept(&mut times, 1, second));
        }
    }

    #[test]
    fn of_too_many_timestamps_the_earliest_are_refused_and_none_is_accepted_twice() {
        let mut times = times(8);
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
        let mut times = times(8);
        assert!(accept(&mut times, 1, 100));
        let later = NOW + REORDERING_MAX;
        assert!(accept_at(&mut times, later, 1, 98));
        let too_late = later + Duration::from_nanos(1);
        assert!(!accept_at(&mut times, too_late, 1, 99));
        assert!(!accept_at(&mut times, too_late, 1, 98));
        assert!(accept_at(&mut times, too_late, 1, 101));
        assert_eq!(times.younger[&identity(1)].recent.len(), 2);
    }

    #[test]
    fn identities_of_the_latest_handshakes_are_remembered_and_at_most_twice_as_many() {
        let mut times = times(8);
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
    fn initiations_of_forgotten_identities_are_not_accepted_again() {
        let mut times = times(8);
        for n in 0..1000 {
            assert!(accept(&mut times, n, 10 + n));
            for old in 0..=n {
                assert!(!accept(&mut times, old, 10 + old), "{old} after {n}");
            }
        }
    }

    #[test]
    fn refused_initiations_do_not_change_which_identities_are_remembered() {
        let mut times = times(2);
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

    /// The identity's clock may be ahead of ours, whether or not ours is trusted.
    #[test]
    fn an_initiation_of_a_forgotten_identity_with_a_fast_clock_is_not_accepted_again() {
        for present in [trusted(6000), UNTRUSTED] {
            let mut times = times(8);
            let ahead = 0..4;
            for n in ahead.clone() {
                assert_eq!(times.accept(present, &identity(n), at(6000 - n)), Ok(()));
            }
            for n in 100..1000 {
                // Identities that share a place with one that is ahead are refused until they are later.
                let _accepted = times.accept(present, &identity(n), at(5000));
            }
            for n in ahead {
                assert!(!times.younger.contains_key(&identity(n)));
                assert!(!times.older.contains_key(&identity(n)));
                assert_eq!(times.accept(present, &identity(n), at(6000 - n)), REPLAYED);
                assert_eq!(times.accept(present, &identity(n), at(5999 - n)), REPLAYED);
            }
        }
    }

    #[test]
    fn a_fast_clock_locks_out_only_identities_that_share_its_place() {
        let mut times = times(1000);
        let present = trusted(6000);
        assert_eq!(times.accept(present, &identity(0), at(6000)), Ok(()));
        // Two full maps of other identities, with slow clocks.
        let accepted = |n: &u32| times.accept(present, &identity(*n), at(4000)).is_ok();
        let accepted = (1..=4000).filter(accepted).count();
        // A place is forgotten 2 or 3 times, so identities with the same second that share one are refused.
        assert!(accepted > 2000, "{accepted}");
        assert!(!times.older.contains_key(&identity(0)));
        let accepted = |n: &u32| times.accept(present, &identity(*n), at(5000)).is_ok();
        let accepted = (10_000..11_000).filter(accepted).count();
        assert!((950..1000).contains(&accepted), "{accepted}");
    }

    #[test]
    fn a_future_timestamp_is_refused_and_leaves_no_trace() {
        let mut times = times(8);
        assert_eq!(times.accept(trusted(100), &identity(1), at(101)), FUTURE);
        assert_eq!(times.identities(), 0);
        assert_eq!(times.accept(trusted(100), &identity(1), at(100)), Ok(()));
        // Being later than the last is enough.
        assert_eq!(times.accept(trusted(101), &identity(1), at(101)), Ok(()));
    }

    #[test]
    fn without_a_trusted_clock_every_timestamp_is_accepted_once() {
        let mut times = times(8);
        for second in [1, 2_000_000_000, 4_000_000_000] {
            assert_eq!(times.accept(UNTRUSTED, &identity(1), at(second)), Ok(()));
            assert_eq!(times.accept(UNTRUSTED, &identity(1), at(second)), REPLAYED);
        }
    }

    #[test]
    fn a_clock_that_becomes_trusted_frees_locked_out_identities_and_accepts_nothing_twice() {
        for late in [Duration::ZERO, REORDERING_MAX * 2] {
            let mut times = times(8);
            let mut accepted = vec![500, 505, 1000, 4000, 4001, 4100, 9000];
            for second in &accepted {
                assert_eq!(times.accept(UNTRUSTED, &identity(1), at(*second)), Ok(()));
            }
            let present = |latest_plausible| Present {
                uptime: NOW + late,
                ..trusted(latest_plausible)
            };
            // The clock shows 1500 and advances.
            for second in [1500, 1600, 3999] {
                let present = present(second + 10);
                assert_eq!(times.accept(present, &identity(1), at(second)), Ok(()));
                accepted.push(second);
            }
            for second in &accepted {
                let again = times.accept(present(u32::MAX), &identity(1), at(*second));
                assert_eq!(again, REPLAYED, "{second}");
            }
            assert_eq!(times.accept(present(9001), &identity(1), at(9001)), Ok(()));
        }
    }

    /// A client makes a handshake every two minutes for a day, then has its clock set wrong.
    #[test]
    fn the_widest_gaps_are_kept() {
        let mut times = times(8);
        for n in 0..720 {
            let present = Present {
                uptime: Duration::from_secs(120) * n,
                ..UNTRUSTED
            };
            let second = at(1_000_000 + 120 * n);
            assert_eq!(times.accept(present, &identity(1), second), Ok(()));
        }
        let far = at(3_000_000_000);
        assert_eq!(times.accept(UNTRUSTED, &identity(1), far), Ok(()));
        let second = at(1_000_000 + 120 * 720);
        let present = trusted(1_000_000 + 120 * 720 + 60);
        assert_eq!(times.accept(present, &identity(1), second), Ok(()));
        assert_eq!(times.accept(UNTRUSTED, &identity(1), far), REPLAYED);
    }

    proptest::proptest! {
        /// With arbitrary clocks of the gateway and the clients.
        #[test]
        fn no_initiation_is_accepted_twice(
            steps in proptest::collection::vec(
                (0_u32..6, 0_u32..40, proptest::option::of(0_u32..40), 0_u64..60),
                1..300,
            )
        ) {
            let mut times = times(2);
            let mut accepted = std::collections::HashSet::new();
            let mut uptime = Duration::ZERO;
            for (n, second, latest_plausible, passed) in steps {
                uptime += Duration::from_secs(passed);
                let latest_plausible = latest_plausible.map(at);
                let present = Present { uptime, latest_plausible };
                if times.accept(present, &identity(n), at(second)).is_ok() {
                    proptest::prop_assert!(accepted.insert((n, second)));
                }
            }
        }
    }
}

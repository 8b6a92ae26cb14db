//! What all shards of a gateway remember of the initiations that they accepted.
//!
//! A captured initiation can be sent again to any worker, and a tunnel knows only its own. This is therefore
//! the one thing that shards share. It is off the packet path: data never comes here, an initiation reads
//! [`SeenInitiations`] before anything is spent on it, and takes a lock of [`InitiationTimes`] only once its
//! identity is proven and authorized.

mod initiation_times;
mod seen_initiations;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ahash::RandomState;

use crate::drop_reason::DropReason;
use crate::initiation::Timestamp;
use crate::randomness::Randomness;
use crate::replay_guard::initiation_times::InitiationTimes;
use crate::replay_guard::seen_initiations::SeenInitiations;

/// Identities are spread over so many locks, so that workers rarely meet.
const LOCKS: usize = 64;

/// Refuses initiations that were accepted before, by whichever shard. All shards of a gateway have the
/// same one.
///
/// # What it promises
///
/// An initiation that one shard accepted is accepted by none again. What tells is the timestamp inside, by
/// the client's clock: one that is not later than all of its identity's is refused, unless it is among
/// the latest and merely late.
///
/// - Merely late is what comes within [`REORDERING_MAX`](Self::REORDERING_MAX) and among the last 32
///   initiations of its identity, in any order: the sockets of one identity start at once. Of more than 32
///   the earliest may be refused; their clients succeed when they try again.
/// - A client whose clock was set back is refused until it has caught up with the identity's last handshake,
///   if that is longer ago than `REORDERING_MAX` (WireGuard whitepaper, section 5.1: at any time).
/// - At least as many identities as [`new`](Self::new) is told to are remembered, those of the latest
///   handshakes, and at most twice as many: about 200 bytes each, and 2 KB for one that shakes hands all the time.
/// - What is forgotten past that leaves its latest timestamp behind, or our own clock's time if that is
///   earlier: an identity that is not remembered has to be later. So a forgotten identity's initiations are
///   no more accepted than before, and a client whose clock is right is always let in.
/// - A new process has forgotten everything.
pub struct ReplayGuard {
    started: Instant,
    started_wall: SystemTime,
    hasher: RandomState,
    seen: SeenInitiations,
    times: Box<[Mutex<InitiationTimes>]>,
}

impl ReplayGuard {
    /// How much later than others of its identity an initiation may arrive.
    pub const REORDERING_MAX: Duration = Duration::from_secs(180);

    /// Enough for a gateway of 100,000 tunnels, most of whose clients have an identity of their own.
    pub const IDENTITIES_DEFAULT: usize = 1 << 18;

    /// Makes a guard that has seen nothing. `wall` is what the clock of the day says at `now`;
    /// `identities` is how many it remembers.
    #[must_use]
    pub fn new(now: Instant, wall: SystemTime, identities: usize) -> Self {
        Self::with_randomness(now, wall, identities, Randomness::of_the_system())
    }

    /// The same with hashers that follow from `seed`, for simulations: whoever knows the seed can choose
    /// what shares a place with what.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn seeded(now: Instant, wall: SystemTime, identities: usize, seed: u64) -> Self {
        Self::with_randomness(now, wall, identities, Randomness::of_seed(seed))
    }

    fn with_randomness(
        now: Instant,
        wall: SystemTime,
        identities: usize,
        mut randomness: Randomness,
    ) -> Self {
        let per_lock = identities.div_ceil(LOCKS).max(1);
        ReplayGuard {
            started: now,
            started_wall: wall,
            hasher: randomness.hasher(),
            seen: SeenInitiations::new(),
            times: (0..LOCKS)
                .map(|_| Mutex::new(InitiationTimes::new(per_lock)))
                .collect(),
        }
    }

    /// Whether an initiation with this ephemeral key was accepted lately. Cheap, and sure if it says yes.
    pub(crate) fn has_seen(&self, ephemeral: &[u8; 32]) -> bool {
        self.seen.contains(self.hasher.hash_one(ephemeral))
    }

    /// Remembers the initiation, or refuses it. Its identity must be proven.
    pub(crate) fn accept(
        &self,
        now: Instant,
        identity: &[u8; 32],
        timestamp: Timestamp,
        ephemeral: &[u8; 32],
    ) -> Result<(), DropReason> {
        let uptime = now.saturating_duration_since(self.started);
        let our_clock = Timestamp::of(self.started_wall + uptime);
        // The map inside a lock hashes with a key of its own.
        let lock = self.hasher.hash_one(identity) as usize % LOCKS;
        let accepted = self.times[lock]
            .lock()
            // Nothing panics while it holds the lock, and every state in between is sound.
            .unwrap_or_else(PoisonError::into_inner)
            .accept(uptime, our_clock, identity, timestamp);
        if !accepted {
            return Err(DropReason::ReplayedInitiation);
        }
        self.seen.insert(self.hasher.hash_one(ephemeral));
        Ok(())
    }

    /// How many identities are remembered now.
    #[must_use]
    pub fn identities(&self) -> usize {
        let remembered = |times: &Mutex<InitiationTimes>| {
            times
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .identities()
        };
        self.times.iter().map(remembered).sum()
    }
}

impl fmt::Debug for ReplayGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayGuard")
            .field("identities", &self.identities())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn guard() -> (ReplayGuard, Instant) {
        let now = Instant::now();
        (ReplayGuard::new(now, SystemTime::UNIX_EPOCH, 64), now)
    }

    #[test]
    fn what_was_accepted_is_seen_at_once() {
        let (guard, now) = guard();
        assert!(!guard.has_seen(&[1; 32]));
        assert_eq!(
            guard.accept(now, &[2; 32], Timestamp([3; 12]), &[1; 32]),
            Ok(())
        );
        assert!(guard.has_seen(&[1; 32]));
        assert_eq!(guard.identities(), 1);
    }

    /// As if the short memory had forgotten the ephemeral key.
    #[test]
    fn the_timestamp_alone_gives_a_replay_away() {
        let (guard, now) = guard();
        assert_eq!(
            guard.accept(now, &[2; 32], Timestamp([3; 12]), &[1; 32]),
            Ok(())
        );
        for later in [Duration::ZERO, ReplayGuard::REORDERING_MAX * 10] {
            let again = guard.accept(now + later, &[2; 32], Timestamp([3; 12]), &[9; 32]);
            assert_eq!(again, Err(DropReason::ReplayedInitiation));
        }
        assert!(!guard.has_seen(&[9; 32]));
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let (guard, now) = guard();
        for n in 0..10_000u64 {
            let mut identity = [0; 32];
            identity[..8].copy_from_slice(&n.to_be_bytes());
            let mut timestamp = Timestamp::of(SystemTime::UNIX_EPOCH + Duration::from_secs(n));
            timestamp.0[11] = 1;
            assert_eq!(guard.accept(now, &identity, timestamp, &identity), Ok(()));
        }
        assert!((64..=128).contains(&guard.identities()));
    }
}

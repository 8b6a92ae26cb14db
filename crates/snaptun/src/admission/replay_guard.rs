//! What all shards of a gateway remember of the initiations that they accepted.
//!
//! A captured initiation can be sent again to any worker, and a tunnel knows only its own. This is therefore
//! the one thing that shards share. It is off the packet path: data never comes here, an initiation reads
//! [`SeenInitiations`] before anything is spent on it, and takes a lock of [`InitiationTimes`] only once its
//! identity is proven and authorized.

mod initiation_times;
mod seen_initiations;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ahash::RandomState;

use crate::admission::replay_guard::initiation_times::{InitiationTimes, Present};
use crate::admission::replay_guard::seen_initiations::SeenInitiations;
use crate::crypto::initiation::Timestamp;
use crate::crypto::randomness::Randomness;
use crate::drop_reason::DropReason;

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
/// - The latest timestamp of each forgotten identity stays behind in a table with a place for each identity that
///   is remembered. An identity that is not remembered has to be later than what is in its place, so that
///   a forgotten identity's initiations are no more accepted than before, whatever its clock said. A client whose
///   clock is behind is let in unless it shares its place with a forgotten identity of a later handshake.
/// - A new process has forgotten everything.
///
/// # Timestamps in the future
///
/// A timestamp that is accepted locks its identity out until the client's clock is later. So one that is more than
/// a tolerance ahead of the system clock is refused ([`FutureTimestamp`](DropReason::FutureTimestamp)),
/// and one handshake with a wrong clock locks an identity out for no longer than the tolerance. Clocks that are
/// behind are not judged: only the order of an identity's own timestamps matters.
///
/// The caller says what the system clock says, and whether it can be trusted
/// ([`set_clock`](Self::set_clock)). While it cannot, nothing is refused as being in the future. When it can again,
/// identities that were accepted in the future meanwhile are no longer held to these timestamps, which
/// are still accepted only once.
pub struct ReplayGuard {
    started: Instant,
    /// What the system clock says that it was at `started`, in nanoseconds since 1970, which lasts until 2554; 0
    /// while it is not trusted.
    started_wall: AtomicU64,
    timestamp_tolerance: Duration,
    hasher: RandomState,
    seen: SeenInitiations,
    times: Box<[Mutex<InitiationTimes>]>,
}

impl ReplayGuard {
    /// How much later than others of its identity an initiation may arrive.
    pub const REORDERING_MAX: Duration = initiation_times::REORDERING_MAX;

    /// Enough for a gateway of 100,000 tunnels, most of whose clients have an identity of their own.
    pub const IDENTITIES_DEFAULT: usize = 1 << 18;

    /// How far ahead of the system clock a timestamp may be by default: an hour of daylight saving time that
    /// is counted wrong, on either side, and whatever else is wrong by less. It is how long a client is locked
    /// out at most when its clock is set right.
    pub const TIMESTAMP_TOLERANCE_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

    /// Makes a guard that has seen nothing, and does not trust the system clock before it is
    /// [told](Self::set_clock) what that says. `identities` is how many it remembers, `timestamp_tolerance` how far
    /// ahead of the system clock a timestamp may be.
    #[must_use]
    pub fn new(now: Instant, identities: usize, timestamp_tolerance: Duration) -> Self {
        let randomness = Randomness::of_the_system();
        Self::with_randomness(now, identities, timestamp_tolerance, randomness)
    }

    /// The same with hashers that follow from `seed`, for simulations: whoever knows the seed can choose
    /// what shares a place with what.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn seeded(
        now: Instant,
        identities: usize,
        timestamp_tolerance: Duration,
        seed: u64,
    ) -> Self {
        let randomness = Randomness::of_seed(seed);
        Self::with_randomness(now, identities, timestamp_tolerance, randomness)
    }

    fn with_randomness(
        now: Instant,
        identities: usize,
        timestamp_tolerance: Duration,
        mut randomness: Randomness,
    ) -> Self {
        let per_lock = identities.div_ceil(LOCKS).max(1);
        ReplayGuard {
            started: now,
            started_wall: AtomicU64::new(0),
            timestamp_tolerance,
            hasher: randomness.hasher(),
            seen: SeenInitiations::new(),
            times: (0..LOCKS)
                .map(|_| Mutex::new(InitiationTimes::new(per_lock, randomness.hasher())))
                .collect(),
        }
    }

    /// Takes in what the system clock says at `now`; `None` if it is known, or likely, to be wrong.
    ///
    /// Call it every few seconds: a clock that is set is taken for what it was until then. Any thread may; no shard
    /// waits for it.
    pub fn set_clock(&self, now: Instant, wall: Option<SystemTime>) {
        let uptime = now.saturating_duration_since(self.started);
        let started_wall = wall
            .and_then(|wall| wall.duration_since(SystemTime::UNIX_EPOCH).ok())
            .and_then(|wall| wall.checked_sub(uptime))
            .and_then(|wall| u64::try_from(wall.as_nanos()).ok());
        self.started_wall
            .store(started_wall.unwrap_or(0), Ordering::Relaxed);
    }

    fn present(&self, now: Instant) -> Present {
        let uptime = now.saturating_duration_since(self.started);
        let started_wall = self.started_wall.load(Ordering::Relaxed);
        let latest_plausible = (started_wall != 0).then(|| {
            let wall = Duration::from_nanos(started_wall).saturating_add(uptime);
            Timestamp::of(wall.saturating_add(self.timestamp_tolerance))
        });
        Present {
            uptime,
            latest_plausible,
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
        // The map inside a lock hashes with a key of its own.
        let lock = self.hasher.hash_one(identity) as usize % LOCKS;
        self.times[lock]
            .lock()
            // Nothing panics while it holds the lock, and every state in between is sound.
            .unwrap_or_else(PoisonError::into_inner)
            .accept(self.present(now), identity, timestamp)?;
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

    const HOUR: Duration = Duration::from_secs(3600);

    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn guard() -> (ReplayGuard, Instant) {
        let now = Instant::now();
        (ReplayGuard::new(now, 64, HOUR), now)
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
            let mut timestamp = Timestamp::of(Duration::from_secs(n));
            timestamp.0[11] = 1;
            assert_eq!(guard.accept(now, &identity, timestamp, &identity), Ok(()));
        }
        assert!((64..=128).contains(&guard.identities()));
    }

    fn accept(
        guard: &ReplayGuard,
        now: Instant,
        identity: u8,
        hour: u32,
    ) -> Result<(), DropReason> {
        let timestamp = Timestamp::of(hour * HOUR);
        guard.accept(now, &[identity; 32], timestamp, &[9; 32])
    }

    #[test]
    fn a_timestamp_is_accepted_up_to_the_tolerance_ahead_of_the_clock() {
        let (guard, now) = guard();
        let wall = SystemTime::UNIX_EPOCH + 1000 * HOUR;
        guard.set_clock(now, Some(wall));
        assert_eq!(
            accept(&guard, now, 1, 1002),
            Err(DropReason::FutureTimestamp)
        );
        assert_eq!(accept(&guard, now, 1, 1001), Ok(()));
        // The clock goes on by itself.
        assert_eq!(accept(&guard, now + HOUR, 1, 1002), Ok(()));
        // A clock that is behind is not judged.
        assert_eq!(accept(&guard, now, 2, 1), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_counts_from_then_on() {
        let (guard, now) = guard();
        let wall = SystemTime::UNIX_EPOCH + 1000 * HOUR;
        guard.set_clock(now + HOUR, Some(wall));
        assert_eq!(accept(&guard, now + HOUR, 1, 1001), Ok(()));
        guard.set_clock(now + HOUR, Some(wall + 500 * HOUR));
        assert_eq!(accept(&guard, now + 2 * HOUR, 1, 1502), Ok(()));
        guard.set_clock(now + 2 * HOUR, Some(wall));
        assert_eq!(
            accept(&guard, now + 2 * HOUR, 2, 1500),
            Err(DropReason::FutureTimestamp)
        );
    }

    #[test]
    fn without_a_trusted_clock_no_timestamp_is_in_the_future() {
        let (guard, now) = guard();
        assert_eq!(accept(&guard, now, 1, 700_000), Ok(()));
        let now = now + 2 * HOUR;
        // Untrusted by the caller, or from before 1970, or earlier than the uptime.
        let before_1970 = SystemTime::UNIX_EPOCH - HOUR;
        let walls = [None, Some(before_1970), Some(SystemTime::UNIX_EPOCH + HOUR)];
        for (identity, wall) in (2..).zip(walls) {
            guard.set_clock(now, wall);
            assert_eq!(accept(&guard, now, identity, 700_000), Ok(()), "{wall:?}");
        }
    }
}

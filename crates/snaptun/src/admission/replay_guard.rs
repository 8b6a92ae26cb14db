//! Memory of accepted initiations, shared by all shards of a gateway.
//!
//! A captured initiation can be replayed to any worker, and a tunnel knows only its own initiations. Data never
//! accesses this memory: an initiation reads [`SeenInitiations`] before anything is spent on it, and locks
//! [`InitiationTimes`] only after its identity is proven and authorized.

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

/// Number of locks that the identities are spread over, so that workers rarely contend.
const LOCKS: usize = 64;

/// Replay protection for initiations, shared by all shards of a gateway.
///
/// # Guarantees
///
/// An initiation accepted by one shard is never accepted again by any shard. The check compares its timestamp, from the
/// client's clock: it must be later than all timestamps accepted from its identity, or new and among the latest of
/// them.
///
/// - Reordering: up to 32 initiations of one identity may arrive in any order within 180 s, because all sockets of an
///   identity may start at once. Of more than 32 the earliest may be refused; their clients succeed when they try
///   again.
/// - A client whose clock was set back is refused until it has caught up with the identity's last handshake, if that
///   was more than 180 s ago (WireGuard whitepaper, section 5.1: always).
/// - Memory: at least the number of identities given to [`new`](Self::new) are remembered, those with the latest
///   handshakes, and at most twice as many. An identity takes about 200 bytes, or 2 KB with constant handshakes.
/// - The latest timestamp of each forgotten identity stays in a table with one place per remembered identity. The
///   timestamp of an unknown identity must be later than the one in its place, so initiations of forgotten identities
///   are not accepted again, whatever their clocks. A client whose clock is behind is accepted unless a forgotten
///   identity with a later timestamp shares its place.
/// - A new process starts without this memory.
/// - Waiting: an initiation that is proven and authorized holds one of 64 locks while it updates an entry of a map. A
///   shard does not wait for other threads elsewhere.
///
/// # Timestamps in the future
///
/// An accepted timestamp locks its identity out until the client's clock is later. A timestamp further ahead of the
/// system clock than a tolerance is therefore refused ([`FutureTimestamp`](DropReason::FutureTimestamp)), so that one
/// handshake with a wrong clock locks an identity out for at most the tolerance. Clocks that are behind are not
/// checked: only the order of an identity's own timestamps matters.
///
/// The caller reports the system clock, and whether it can be trusted, with [`set_clock`](Self::set_clock). While it is
/// not trusted, no timestamp is refused as future. When it becomes trusted, identities accepted with future timestamps
/// are no longer held to them; each of those timestamps is still accepted only once.
pub struct ReplayGuard {
    started: Instant,
    /// System time at `started` in nanoseconds since 1970, which lasts until 2554; 0 while it is not trusted.
    started_wall: AtomicU64,
    timestamp_tolerance: Duration,
    hasher: RandomState,
    seen: SeenInitiations,
    times: Box<[Mutex<InitiationTimes>]>,
}

impl ReplayGuard {
    /// Default number of identities: 262,144 (2^18), enough for 100,000 tunnels, mostly of different identities.
    pub const IDENTITIES_DEFAULT: usize = 1 << 18;

    /// Default tolerance for timestamps ahead of the system clock: 2 h, one hour of daylight saving time set wrong on
    /// each side. It is the longest lock-out of a client whose wrong clock is corrected.
    pub const TIMESTAMP_TOLERANCE_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

    /// Creates an empty guard. It does not trust the system clock before [`set_clock`](Self::set_clock).
    ///
    /// `now` is the one that the shards are created with, `identities` the number of identities to remember, and
    /// `timestamp_tolerance` the maximum advance of a timestamp over the system clock.
    #[must_use]
    pub fn new(now: Instant, identities: usize, timestamp_tolerance: Duration) -> Self {
        let randomness = Randomness::of_the_system();
        Self::with_randomness(now, identities, timestamp_tolerance, randomness)
    }

    /// Like [`new`](Self::new), with hashers derived from `seed`, for simulations only: anyone who knows the seed can
    /// choose identities that share a place.
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

    /// Sets the system time at `now`; `None` if it is known, or likely, to be wrong.
    ///
    /// Call it every few seconds, from any thread; between calls the guard advances the last time by its own clock. No
    /// shard waits for the call.
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

    /// Returns true if an initiation with this ephemeral key was accepted recently. Cheap, but misses some of them.
    pub(crate) fn has_seen(&self, ephemeral: &[u8; 32]) -> bool {
        self.seen.contains(self.hasher.hash_one(ephemeral))
    }

    /// Records an initiation, whose identity must be proven, or refuses it.
    pub(crate) fn accept(
        &self,
        now: Instant,
        identity: &[u8; 32],
        timestamp: Timestamp,
        ephemeral: &[u8; 32],
    ) -> Result<(), DropReason> {
        // The map inside a lock hashes with another key.
        let lock = self.hasher.hash_one(identity) as usize % LOCKS;
        self.times[lock]
            .lock()
            // No code panics while it holds the lock, and every intermediate state is valid.
            .unwrap_or_else(PoisonError::into_inner)
            .accept(self.present(now), identity, timestamp)?;
        self.seen.insert(self.hasher.hash_one(ephemeral));
        Ok(())
    }

    /// Returns the number of identities remembered. Takes each of the guard's 64 locks in turn.
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
    fn an_accepted_initiation_is_seen_at_once() {
        let (guard, now) = guard();
        assert!(!guard.has_seen(&[1; 32]));
        assert_eq!(
            guard.accept(now, &[2; 32], Timestamp([3; 12]), &[1; 32]),
            Ok(())
        );
        assert!(guard.has_seen(&[1; 32]));
        assert_eq!(guard.identities(), 1);
    }

    /// As if `SeenInitiations` had forgotten the ephemeral key.
    #[test]
    fn a_replay_is_detected_by_its_timestamp_alone() {
        let (guard, now) = guard();
        assert_eq!(
            guard.accept(now, &[2; 32], Timestamp([3; 12]), &[1; 32]),
            Ok(())
        );
        for later in [Duration::ZERO, initiation_times::REORDERING_MAX * 10] {
            let again = guard.accept(now + later, &[2; 32], Timestamp([3; 12]), &[9; 32]);
            assert_eq!(again, Err(DropReason::ReplayedInitiation));
        }
        assert!(!guard.has_seen(&[9; 32]));
    }

    #[test]
    fn the_number_of_identities_is_bounded() {
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
        // The guard advances the clock itself.
        assert_eq!(accept(&guard, now + HOUR, 1, 1002), Ok(()));
        // Clocks that are behind are not checked.
        assert_eq!(accept(&guard, now, 2, 1), Ok(()));
    }

    #[test]
    fn a_changed_system_clock_applies_from_then_on() {
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
        // Not trusted by the caller, before 1970, or less than the uptime.
        let before_1970 = SystemTime::UNIX_EPOCH - HOUR;
        let walls = [None, Some(before_1970), Some(SystemTime::UNIX_EPOCH + HOUR)];
        for (identity, wall) in (2..).zip(walls) {
            guard.set_clock(now, wall);
            assert_eq!(accept(&guard, now, identity, 700_000), Ok(()), "{wall:?}");
        }
    }
}

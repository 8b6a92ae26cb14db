//! Handshake limits of all shards of a gateway together.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::admission::key_counts::{Count, KeyCounts, Second};
use crate::config::ShardConfig;
use crate::crypto::randomness::Randomness;

/// Maximum number of cookies per second for one address: 32 KB/s of unsolicited traffic.
const COOKIES_PER_ADDRESS: u64 = 500;

/// Number of initiations per second and shard, without a cookie and beyond the limits, that may be opened to see if the
/// client of a tunnel made them. Each costs one X25519, 40 to 50 µs with overhead: 5 % of a worker's time.
const PROOFS_PER_SHARD: u64 = 1_024;

/// Counts of handshake messages per second against the limits of [`ShardConfig`], shared by all shards of a gateway.
///
/// With counts per shard, an attacker who used up the limit of its own address at one shard could find out which other
/// ports of its address belong to the same shard, and aim a flood at it.
///
/// Only handshake messages with a valid mac1 are counted, never data, and no shard waits for another. Shards that count
/// at the same moment may exceed a limit by one each.
pub struct HandshakeLimits {
    started: Instant,
    /// Latest second with a message.
    latest: AtomicU32,
    unverified: Budget,
    verified: Budget,
    /// Answered handshakes by identity.
    by_identity: KeyCounts,
    per_identity: u64,
    /// Initiations opened beyond the limits.
    proofs: Count,
    proofs_per_second: u64,
    /// Messages that needed a cookie, in even and in odd seconds, so that the previous second can still be read.
    cookies_wanted: [KeyCounts; 2],
    cookies_sent: KeyCounts,
}

/// Budget of handshake messages per second.
struct Budget {
    used: Count,
    per_second: u64,
    by_address: KeyCounts,
    per_address: u64,
}

/// State of a sender's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The address may be spoofed.
    Unverified,
    /// The sender has shown a cookie: it receives at the address.
    Verified,
}

/// Purpose of a handshake message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It asks for an answer.
    Initiation,
    /// It answers an initiation of ours. A response without a matching index is dropped at no cost, so their number is
    /// bounded by our initiations, and they have no shared budget; only the limit per address holds.
    Response,
}

/// Limit that a message exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Limit of its address.
    Address,
    /// Limit of all senders together.
    Total,
}

/// Number of messages of an address that needed a cookie.
pub(crate) struct CookiesWanted {
    /// In this second, including the current message.
    pub(crate) now: u32,
    /// In the previous second.
    pub(crate) before: u32,
}

impl HandshakeLimits {
    /// Creates the limits of a gateway with `shards` shards. The limits per address and per identity of `config` hold
    /// for all shards together; the budgets are multiplied by `shards`, which is at least 1: with 0, no initiation is
    /// admitted. `now` is the one that the shards are created with. Allocates 1.5 MiB.
    #[must_use]
    pub fn new(now: Instant, config: &ShardConfig, shards: usize) -> Self {
        Self::with_randomness(now, config, shards, Randomness::of_the_system())
    }

    /// Like [`new`](Self::new), with hashers derived from `seed`, for simulations only: anyone who knows the seed can
    /// choose addresses that share a limit.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn seeded(now: Instant, config: &ShardConfig, shards: usize, seed: u64) -> Self {
        Self::with_randomness(now, config, shards, Randomness::of_seed(seed))
    }

    fn with_randomness(
        now: Instant,
        config: &ShardConfig,
        shards: usize,
        mut randomness: Randomness,
    ) -> Self {
        let of_all = |of_each: u64| of_each.saturating_mul(shards as u64);
        let mut counts = || KeyCounts::new(randomness.hasher());
        HandshakeLimits {
            started: now,
            latest: AtomicU32::new(0),
            unverified: Budget {
                used: Count::default(),
                per_second: of_all(config.handshakes_per_second),
                by_address: counts(),
                per_address: config.handshakes_per_ip_per_second,
            },
            verified: Budget {
                used: Count::default(),
                per_second: of_all(config.verified_handshakes_per_second),
                by_address: counts(),
                per_address: config.verified_handshakes_per_ip_per_second,
            },
            by_identity: counts(),
            per_identity: config.handshakes_per_identity_per_second,
            proofs: Count::default(),
            proofs_per_second: of_all(PROOFS_PER_SHARD),
            cookies_wanted: [counts(), counts()],
            cookies_sent: counts(),
        }
    }

    /// Admits a handshake message if its budget allows.
    pub(crate) fn admit(
        &self,
        now: Instant,
        address: IpAddr,
        sender: Sender,
        purpose: Purpose,
    ) -> Result<(), Limit> {
        let budget = match sender {
            Sender::Unverified => &self.unverified,
            Sender::Verified => &self.verified,
        };
        budget.take(self.second(now), address, purpose)
    }

    /// Returns true for the first message of a second at any shard if, in the last second with messages, the budget of
    /// messages without a cookie was used up.
    pub(crate) fn ends_overload(&self, now: Instant) -> bool {
        let second = self.second(now);
        if self.latest.load(Ordering::Relaxed) >= second {
            return false;
        }
        let latest = self.latest.fetch_max(second, Ordering::Relaxed);
        latest < second && self.unverified.is_used_up(latest)
    }

    /// Takes a permit to open an initiation beyond the limits. Returns false if none is left in this second.
    pub(crate) fn take_proof(&self, now: Instant) -> bool {
        self.proofs.take(self.second(now), self.proofs_per_second)
    }

    /// Returns true if this identity has reached its limit of answered handshakes in this second.
    pub(crate) fn is_identity_over_limit(&self, now: Instant, identity: &[u8; 32]) -> bool {
        u64::from(self.by_identity.get(self.second(now), identity)) >= self.per_identity
    }

    /// Counts an initiation that is proven to be of this identity and not a replay.
    pub(crate) fn count_identity(&self, now: Instant, identity: &[u8; 32]) {
        self.by_identity.add(self.second(now), identity);
    }

    /// Counts a message of this address that needs a cookie.
    pub(crate) fn count_cookie_wanted(&self, now: Instant, address: IpAddr) -> CookiesWanted {
        let (second, host) = (self.second(now), host(address));
        let of = |second: Second| &self.cookies_wanted[second as usize % 2];
        CookiesWanted {
            now: of(second).add(second, &host),
            // The first second has no previous one.
            before: second
                .checked_sub(1)
                .map_or(0, |before| of(before).get(before, &host)),
        }
    }

    /// Takes a cookie for an address. Returns false if none is left in this second.
    pub(crate) fn take_cookie(&self, now: Instant, address: IpAddr) -> bool {
        self.cookies_sent
            .take(self.second(now), &host(address), COOKIES_PER_ADDRESS)
    }

    fn second(&self, now: Instant) -> Second {
        let age = now.saturating_duration_since(self.started).as_secs();
        Second::try_from(age).unwrap_or(Second::MAX)
    }
}

impl Budget {
    fn take(&self, second: Second, address: IpAddr, purpose: Purpose) -> Result<(), Limit> {
        let is_shared = purpose == Purpose::Initiation;
        if is_shared && self.is_used_up(second) {
            return Err(Limit::Total);
        }
        if !self
            .by_address
            .take(second, &host(address), self.per_address)
        {
            return Err(Limit::Address);
        }
        if is_shared {
            self.used.add(second);
        }
        Ok(())
    }

    fn is_used_up(&self, second: Second) -> bool {
        u64::from(self.used.get(second)) >= self.per_second
    }
}

impl fmt::Debug for HandshakeLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeLimits").finish_non_exhaustive()
    }
}

/// Returns the key of an address: of an IPv6 address the first 64 bits, because one host can use all of the rest.
fn host(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        // Differs from all IPv4 addresses: global IPv6 prefixes do not begin with 32 zero bits.
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn limits(config: &ShardConfig, shards: usize) -> (HandshakeLimits, Instant) {
        let now = Instant::now();
        (HandshakeLimits::new(now, config, shards), now)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn limits_of_an_address_hold_for_all_shards_and_budgets_grow_with_their_number() {
        let (limits, now) = limits(
            &ShardConfig {
                handshakes_per_ip_per_second: 3,
                handshakes_per_second: 2,
                ..ShardConfig::default()
            },
            4,
        );
        let admit = |from| {
            let purpose = Purpose::Initiation;
            limits.admit(now, address(from), Sender::Unverified, purpose)
        };
        for from in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!([admit(from), admit(from), admit(from)], [Ok(()); 3]);
            assert_eq!(admit(from), Err(Limit::Address));
        }
        assert_eq!([admit("192.0.2.3"), admit("192.0.2.3")], [Ok(()); 2]);
        assert_eq!(admit("192.0.2.3"), Err(Limit::Total));
    }

    #[test]
    fn addresses_of_one_ipv6_subnet_share_their_limits() {
        let (limits, now) = limits(
            &ShardConfig {
                handshakes_per_ip_per_second: 1,
                ..ShardConfig::default()
            },
            1,
        );
        let admit = |from| {
            let purpose = Purpose::Response;
            limits.admit(now, address(from), Sender::Unverified, purpose)
        };
        assert_eq!(admit("2001:db8::1"), Ok(()));
        assert_eq!(admit("2001:db8::2"), Err(Limit::Address));
        assert_eq!(admit("2001:db8:0:1::1"), Ok(()));
    }

    #[test]
    fn an_overloaded_second_is_reported_once() {
        let (limits, now) = limits(
            &ShardConfig {
                handshakes_per_second: 1,
                ..ShardConfig::default()
            },
            1,
        );
        let initiation = |now| {
            let from = address("192.0.2.1");
            limits.admit(now, from, Sender::Unverified, Purpose::Initiation)
        };
        assert!(!limits.ends_overload(now));
        assert_eq!(initiation(now), Ok(()));
        assert!(!limits.ends_overload(now));
        assert!(limits.ends_overload(now + SECOND));
        assert!(!limits.ends_overload(now + SECOND));
        assert!(!limits.ends_overload(now + 9 * SECOND));
    }

    #[test]
    fn wanted_cookies_are_counted_for_this_second_and_the_previous_one() {
        let (limits, now) = limits(&ShardConfig::default(), 1);
        let from = address("192.0.2.1");
        let want = |now| {
            let wanted = limits.count_cookie_wanted(now, from);
            (wanted.now, wanted.before)
        };
        assert_eq!([want(now), want(now)], [(1, 0), (2, 0)]);
        assert_eq!(want(now + SECOND), (1, 2));
        assert_eq!(want(now + 2 * SECOND), (1, 1));
        assert_eq!(want(now + 5 * SECOND), (1, 0));
    }
}

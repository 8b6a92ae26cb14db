//! How many handshakes all shards of a gateway take in together.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::admission::key_counts::{Count, KeyCounts, Second};
use crate::config::ShardConfig;
use crate::crypto::randomness::Randomness;

/// Cookies sent to one address in a second, at most: 32 KB/s for a host that did not ask for them.
const COOKIES_PER_ADDRESS: u64 = 500;

/// Initiations beyond the limits, without a cookie, that each shard's share allows to open in a second to see
/// whether the client of a tunnel made them. One costs one X25519, 40 to 50 µs with what is around it: 5 % of a
/// worker's time.
const PROOFS_PER_SHARD: u64 = 1_024;

/// Counts the handshake messages of all shards in each second, against the limits of [`ShardConfig`]. All shards of
/// a gateway have the same one.
///
/// If each shard counted for itself, an attacker who used up the limit of its own address at one shard could see
/// which other ports of its address belong to the same shard, and aim a flood at it.
///
/// It is off the packet path: only handshake messages with a valid mac1 come here, and no shard waits for another.
/// Shards that count at the same moment may exceed a limit by one each.
pub struct HandshakeLimits {
    started: Instant,
    /// The latest second in which a message came.
    latest: AtomicU32,
    unverified: Budget,
    verified: Budget,
    /// Handshakes answered, by identity.
    by_identity: KeyCounts,
    per_identity: u64,
    /// Initiations opened beyond the limits.
    proofs: Count,
    proofs_per_second: u64,
    /// Messages that needed a cookie, in even and in odd seconds, so that the second before can be read too.
    cookies_wanted: [KeyCounts; 2],
    cookies_sent: KeyCounts,
}

/// What may be admitted in a second.
struct Budget {
    used: Count,
    per_second: u64,
    by_address: KeyCounts,
    per_address: u64,
}

/// What a sender is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// It may have made its address up.
    Unverified,
    /// It has shown a cookie: it receives what is sent to its address.
    Verified,
}

/// What a handshake message is admitted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It asks us to answer.
    Initiation,
    /// It answers us. There are no more of these than we asked for, since without the index of our initiation
    /// they cost nothing, so they have no budget in common; the limit of each address holds.
    Response,
}

/// Which limit a message exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// That of its address.
    Address,
    /// That of all senders together.
    Total,
}

/// How many messages of an address needed a cookie.
pub(crate) struct CookiesWanted {
    /// In this second, the message that asks included.
    pub(crate) now: u32,
    /// In the second before.
    pub(crate) before: u32,
}

impl HandshakeLimits {
    /// Makes the limits of a gateway with so many shards. Of `config`, the limits of an address and of an
    /// identity hold for all shards together, the budgets for each of them.
    #[must_use]
    pub fn new(now: Instant, config: &ShardConfig, shards: usize) -> Self {
        Self::with_randomness(now, config, shards, Randomness::of_the_system())
    }

    /// The same with hashers that follow from `seed`, for simulations: whoever knows the seed can choose
    /// addresses that share a limit.
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

    /// Admits a handshake message if there is a budget for it.
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

    /// Whether this is the first message that any shard got in its second, and in the last one with any the budget of
    /// messages without a cookie was used up.
    pub(crate) fn ends_overload(&self, now: Instant) -> bool {
        let second = self.second(now);
        if self.latest.load(Ordering::Relaxed) >= second {
            return false;
        }
        let latest = self.latest.fetch_max(second, Ordering::Relaxed);
        latest < second && self.unverified.is_used_up(latest)
    }

    /// Takes one of the initiations that may be opened beyond the limits in this second.
    pub(crate) fn take_proof(&self, now: Instant) -> bool {
        self.proofs.take(self.second(now), self.proofs_per_second)
    }

    /// Whether so many handshakes of this identity were answered in this second that there may be no more.
    pub(crate) fn is_identity_over_limit(&self, now: Instant, identity: &[u8; 32]) -> bool {
        u64::from(self.by_identity.get(self.second(now), identity)) >= self.per_identity
    }

    /// An initiation was proven to be of this identity, and to be no replay.
    pub(crate) fn count_identity(&self, now: Instant, identity: &[u8; 32]) {
        self.by_identity.add(self.second(now), identity);
    }

    /// A message of this address needs a cookie.
    pub(crate) fn count_cookie_wanted(&self, now: Instant, address: IpAddr) -> CookiesWanted {
        let (second, host) = (self.second(now), host(address));
        let of = |second: Second| &self.cookies_wanted[second as usize % 2];
        CookiesWanted {
            now: of(second).add(second, &host),
            // Nothing is before the first second.
            before: second
                .checked_sub(1)
                .map_or(0, |before| of(before).get(before, &host)),
        }
    }

    /// Whether one more cookie may be sent to an address in this second.
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

/// What counts as one address: of an IPv6 address its first 64 bits, since one host has all of the others.
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
    fn an_address_has_the_same_limit_with_many_shards_and_a_budget_grows_with_them() {
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
    fn the_addresses_of_one_ipv6_subnet_count_as_one() {
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
    fn an_overloaded_second_is_told_once() {
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
    fn cookies_wanted_are_known_of_this_second_and_the_one_before() {
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

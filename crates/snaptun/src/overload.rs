//! What a handshake message has to pass before a Diffie-Hellman is spent on it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::packet::{WgCookieReply, WgHandshakeBase};
use rand::Rng as _;
use rand::rngs::StdRng;
use x25519_dalek::PublicKey;

use crate::address_limit::AddressLimit;
use crate::config::ShardConfig;
use crate::cookies::Cookies;
use crate::key_limit::KeyLimit;
use crate::randomness::Randomness;
use crate::static_key::StaticKey;

/// What limits count by. Periods begin at the same time in all shards, so that their ends do not tell which
/// shard an address belongs to.
const PERIOD: Duration = Duration::from_secs(1);

/// Cookies sent to one address in a second, at most: 32 KB/s for a host that did not ask for them.
const COOKIES_PER_ADDRESS: u64 = 500;

/// About so many of an address's messages in a second are drawn by lot to get a cookie, whenever they come. If the
/// first messages got all, a client that tries again every 5 s would come too late each time.
const COOKIES_DRAWN: u32 = 400;

/// Messages of one address in a second that take part in the lot while the shard is over its budget. Of those beyond,
/// one of [`DRAWN_OF`] does.
const COOKIES_WHILE_OVERLOADED: u32 = 4;

/// See [`COOKIES_WHILE_OVERLOADED`].
const DRAWN_OF: u32 = 8;

/// Initiations beyond the limits, without a cookie, that are opened in a second to see whether the client of
/// a tunnel made them. One costs one X25519, 40 to 50 µs with what is around it: 5 % of a worker's time.
const PROOFS_PER_SECOND: u64 = 1_024;

/// The shard's defence against too many handshakes.
///
/// Anyone can write any source address into a message without a cookie, so those have a budget of their
/// own: however many come, messages with a cookie are admitted from another, and all that the rest
/// costs is a cookie reply for some of them. A reply costs ten times what it takes to drop a message, and is
/// sent to a host that may not have asked for it: so each address gets few.
pub(crate) struct Overload {
    cookies: Cookies,
    /// Messages that needed a cookie, in this period and in the one before.
    cookies_wanted: [AddressLimit; 2],
    cookies_sent: AddressLimit,
    lots: StdRng,
    unverified: Budget,
    verified: Budget,
    /// What is left of [`PROOFS_PER_SECOND`].
    proofs: u64,
    /// Initiations that were proven to be of an identity.
    by_identity: KeyLimit,
    started: Instant,
    /// How many periods after `started` the budgets are for.
    period: u64,
    /// Periods in which the budget of messages without a cookie was not enough.
    overloaded_periods: u64,
    limiter: Arc<RateLimiter>,
}

/// What may be admitted in a period.
struct Budget {
    left: u64,
    per_period: u64,
    per_address: AddressLimit,
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
    Address,
    Shard,
}

/// A message was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) sender: Sender,
    pub(crate) limit: Limit,
}

impl Overload {
    pub(crate) fn new(
        now: Instant,
        private: &StaticKey,
        public: &PublicKey,
        config: &ShardConfig,
        randomness: &mut Randomness,
    ) -> Self {
        Overload {
            cookies: Cookies::new(now, private, public, randomness),
            cookies_wanted: {
                let hasher = randomness.hasher();
                [(); 2].map(|()| AddressLimit::new(u64::MAX, hasher.clone()))
            },
            cookies_sent: AddressLimit::new(COOKIES_PER_ADDRESS, randomness.hasher()),
            lots: randomness.generator(),
            unverified: Budget::new(
                config.handshakes_per_second,
                config.handshakes_per_second_per_ip,
                randomness.hasher(),
            ),
            verified: Budget::new(
                config.verified_handshakes_per_second,
                config.verified_handshakes_per_second_per_ip,
                randomness.hasher(),
            ),
            proofs: PROOFS_PER_SECOND,
            by_identity: KeyLimit::new(
                config.handshakes_per_second_per_identity,
                randomness.hasher(),
            ),
            started: now,
            period: 0,
            overloaded_periods: 0,
            limiter: Arc::new(RateLimiter::new(public, u64::MAX)),
        }
    }

    /// Whether the sender of a message knows our public key. `datagram` is a message of the kind `M`.
    pub(crate) fn is_mac1_valid<M: WgHandshakeBase>(&self, datagram: &[u8]) -> bool {
        self.cookies.is_mac1_valid::<M>(datagram)
    }

    /// Admits a handshake message if there is a budget for it. Its mac1 is valid.
    pub(crate) fn admit<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        purpose: Purpose,
        message: &M,
    ) -> Result<Sender, Excess> {
        self.begin_period_if_due(now);
        let (sender, budget) = if self.cookies.are_shown_by(now, from, message) {
            (Sender::Verified, &mut self.verified)
        } else {
            (Sender::Unverified, &mut self.unverified)
        };
        match budget.take(from.ip(), purpose) {
            Ok(()) => Ok(sender),
            Err(limit) => Err(Excess { sender, limit }),
        }
    }

    fn begin_period_if_due(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.started).as_secs();
        let period = age / PERIOD.as_secs();
        if period == self.period {
            return;
        }
        let was_before = period == self.period + 1;
        self.period = period;
        self.overloaded_periods += u64::from(self.unverified.left == 0);
        self.cookies_wanted.swap(0, 1);
        self.cookies_wanted[0].reset();
        if !was_before {
            self.cookies_wanted[1].reset();
        }
        self.cookies_sent.reset();
        self.unverified.renew();
        self.verified.renew();
        self.proofs = PROOFS_PER_SECOND;
        self.by_identity.reset();
    }

    /// Whether one more cookie may be sent to an address in this second, for a message that is over `limit`.
    pub(crate) fn take_cookie(&mut self, address: IpAddr, limit: Limit) -> bool {
        let [wanted, wanted_before] = &mut self.cookies_wanted;
        let nth = wanted.count(address);
        let messages = nth.max(wanted_before.get(address));
        let takes_part = limit == Limit::Address
            || nth <= COOKIES_WHILE_OVERLOADED
            || self.lots.random_ratio(1, DRAWN_OF);
        takes_part && self.draw(COOKIES_DRAWN, messages) && self.cookies_sent.take(address)
    }

    /// Whether a message is drawn by lot, where about `winners` of so many messages are.
    pub(crate) fn draw(&mut self, winners: u32, messages: u32) -> bool {
        messages <= winners || self.lots.random_ratio(winners, messages)
    }

    /// How many initiations beyond the limits may still be opened in this second.
    pub(crate) fn proofs_left(&mut self) -> &mut u64 {
        &mut self.proofs
    }

    /// Whether so many handshakes of this identity were answered in this second that there may be no more.
    pub(crate) fn is_identity_over_limit(&self, identity: &[u8; 32]) -> bool {
        self.by_identity.is_used_up(identity)
    }

    /// An initiation was proven to be of this identity, and to be no replay.
    pub(crate) fn count_identity(&mut self, identity: &[u8; 32]) {
        self.by_identity.take(identity);
    }

    /// A cookie for the sender of a message.
    pub(crate) fn cookie_reply<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &M,
    ) -> WgCookieReply {
        self.cookies.reply_to(now, from, message)
    }

    /// Whole seconds in which senders without a cookie were too many, those under way not among them.
    pub(crate) fn overloaded_periods(&self) -> u64 {
        self.overloaded_periods
    }

    /// For `Tunn::new`, which wants one. `Tunn` only resets what it counts, which is nothing.
    pub(crate) fn limiter(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.limiter)
    }
}

impl Budget {
    fn new(per_period: u64, per_address: u64, hasher: RandomState) -> Self {
        Budget {
            left: per_period,
            per_period,
            per_address: AddressLimit::new(per_address, hasher),
        }
    }

    fn take(&mut self, address: IpAddr, purpose: Purpose) -> Result<(), Limit> {
        let shared = purpose == Purpose::Initiation;
        if shared && self.left == 0 {
            return Err(Limit::Shard);
        }
        if !self.per_address.take(address) {
            return Err(Limit::Address);
        }
        self.left -= u64::from(shared);
        Ok(())
    }

    fn renew(&mut self) {
        self.left = self.per_period;
        self.per_address.reset();
    }
}

//! What a handshake message has to pass before a Diffie-Hellman is spent on it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::packet::{WgCookieReply, WgHandshakeBase};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::address_limit::AddressLimit;
use crate::config::ShardConfig;
use crate::cookies::Cookies;
use crate::drop_reason::DropReason;
use crate::randomness::Randomness;

/// What limits count by.
const PERIOD: Duration = Duration::from_secs(1);

/// Cookies that one address is given in a second while the shard is over its budget.
const COOKIES_PER_ADDRESS: u64 = 4;

/// Of the messages beyond, one of so many gets another: a client behind the address of an attacker, or at
/// one that an attacker writes into its messages, is not kept out.
const ANSWERED_BEYOND: u64 = 8;

/// The shard's defence against too many handshakes.
///
/// Anyone can write any source address into a message without a cookie, so those have a budget of their
/// own: however many come, messages with a cookie are admitted from another, and all that the rest
/// costs is a cookie reply each. A reply costs ten times what it takes to drop a message, and who takes too
/// long loses messages of everyone in the kernel: so addresses that use none of their cookies get few.
pub(crate) struct Overload {
    cookies: Cookies,
    cookies_given: AddressLimit,
    /// Messages beyond [`COOKIES_PER_ADDRESS`] since the shard was made.
    beyond: u64,
    unverified: Budget,
    verified: Budget,
    period_began: Instant,
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

/// Why a message was not admitted.
pub(crate) enum Refusal {
    /// Its sender has to show a cookie: this reply has one.
    CookieDemanded(Limit, WgCookieReply),
    Dropped(DropReason),
}

impl Overload {
    pub(crate) fn new(
        now: Instant,
        private: &StaticSecret,
        public: &PublicKey,
        config: &ShardConfig,
        randomness: &mut Randomness,
    ) -> Self {
        Overload {
            cookies: Cookies::new(now, private, public, &randomness.hasher()),
            cookies_given: AddressLimit::new(COOKIES_PER_ADDRESS, randomness.hasher()),
            beyond: 0,
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
            period_began: now,
            overloaded_periods: 0,
            limiter: Arc::new(RateLimiter::new(public, u64::MAX)),
        }
    }

    /// Whether the sender of a message knows our public key. `datagram` is a message of the kind `M`.
    pub(crate) fn is_mac1_valid<M: WgHandshakeBase>(&self, datagram: &[u8]) -> bool {
        self.cookies.is_mac1_valid::<M>(datagram)
    }

    /// Admits a handshake message if it is for us, and there is a budget for it.
    pub(crate) fn admit<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        purpose: Purpose,
        message: &M,
    ) -> Result<Sender, Refusal> {
        if !self.is_mac1_valid::<M>(message.as_bytes()) {
            return Err(Refusal::Dropped(DropReason::InvalidMac));
        }
        if now.saturating_duration_since(self.period_began) >= PERIOD {
            self.period_began = now;
            self.overloaded_periods += u64::from(self.unverified.left == 0);
            self.cookies_given.reset();
            self.unverified.renew();
            self.verified.renew();
        }
        if self.cookies.are_shown_by(now, from, message) {
            return match self.verified.take(from.ip(), purpose) {
                Ok(()) => Ok(Sender::Verified),
                Err(limit) => Err(Refusal::Dropped(match limit {
                    Limit::Address => DropReason::AddressHandshakeLimit,
                    Limit::Shard => DropReason::ShardHandshakeLimit,
                })),
            };
        }
        match self.unverified.take(from.ip(), purpose) {
            Ok(()) => Ok(Sender::Unverified),
            Err(Limit::Shard) if !self.is_given_cookie(from.ip()) => {
                Err(Refusal::Dropped(DropReason::CookieReplyLimit))
            }
            Err(limit) => {
                let reply = self.cookies.reply_to(now, from, message);
                Err(Refusal::CookieDemanded(limit, reply))
            }
        }
    }

    /// Whether an address is given one more cookie although the shard is over its budget.
    fn is_given_cookie(&mut self, address: IpAddr) -> bool {
        if self.cookies_given.take(address) {
            return true;
        }
        self.beyond += 1;
        self.beyond.is_multiple_of(ANSWERED_BEYOND)
    }

    /// A cookie for the sender of a message that was admitted without one.
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

//! What a handshake message has to pass before a Diffie-Hellman is spent on it.

pub(crate) mod allowance;
mod cookies;
pub(crate) mod handshake_limits;
mod key_counts;
pub(crate) mod replay_guard;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::packet::{WgCookieReply, WgHandshakeBase};
use rand::Rng as _;
use rand::rngs::StdRng;
use x25519_dalek::PublicKey;

use crate::admission::cookies::Cookies;
use crate::admission::handshake_limits::{HandshakeLimits, Limit, Purpose, Sender};
use crate::crypto::randomness::Randomness;
use crate::crypto::static_key::StaticKey;

/// About so many of an address's messages in a second are drawn by lot to get a cookie, whenever they come. If the
/// first messages got all, a client that tries again every 5 s would come too late each time.
const COOKIES_DRAWN: u32 = 400;

/// Messages of one address in a second that take part in the lot while the budget is used up. Of those beyond,
/// one of [`DRAWN_OF`] does.
const COOKIES_WHILE_OVERLOADED: u32 = 4;

/// See [`COOKIES_WHILE_OVERLOADED`].
const DRAWN_OF: u32 = 8;

/// The shard's defence against too many handshakes.
///
/// Anyone can write any source address into a message without a cookie, so those have a budget of their
/// own: however many come, messages with a cookie are admitted from another, and all that the rest
/// costs is a cookie reply for some of them. A reply costs ten times what it takes to drop a message, and is
/// sent to a host that may not have asked for it: so each address gets few.
pub(crate) struct Admission {
    limits: Arc<HandshakeLimits>,
    cookies: Cookies,
    lots: StdRng,
    /// Seconds in which the budget of messages without a cookie was used up, of those whose end this shard saw
    /// first.
    overloaded_seconds: u64,
    limiter: Arc<RateLimiter>,
}

/// A message was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) sender: Sender,
    pub(crate) limit: Limit,
}

impl Admission {
    pub(crate) fn new(
        now: Instant,
        private: &StaticKey,
        public: &PublicKey,
        limits: Arc<HandshakeLimits>,
        randomness: &mut Randomness,
    ) -> Self {
        Admission {
            limits,
            cookies: Cookies::new(now, private, public, randomness),
            lots: randomness.generator(),
            overloaded_seconds: 0,
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
        self.overloaded_seconds += u64::from(self.limits.ends_overload(now));
        let sender = if self.cookies.are_shown_by(now, from, message) {
            Sender::Verified
        } else {
            Sender::Unverified
        };
        match self.limits.admit(now, from.ip(), sender, purpose) {
            Ok(()) => Ok(sender),
            Err(limit) => Err(Excess { sender, limit }),
        }
    }

    /// Whether one more cookie may be sent to an address in this second, for a message that is over `limit`.
    pub(crate) fn take_cookie(&mut self, now: Instant, address: IpAddr, limit: Limit) -> bool {
        let wanted = self.limits.count_cookie_wanted(now, address);
        let takes_part = limit == Limit::Address
            || wanted.now <= COOKIES_WHILE_OVERLOADED
            || self.lots.random_ratio(1, DRAWN_OF);
        takes_part
            && self.draw(COOKIES_DRAWN, wanted.now.max(wanted.before))
            && self.limits.take_cookie(now, address)
    }

    /// Whether a message is drawn by lot, where about `winners` of so many messages are.
    pub(crate) fn draw(&mut self, winners: u32, messages: u32) -> bool {
        messages <= winners || self.lots.random_ratio(winners, messages)
    }

    /// What all shards count together.
    pub(crate) fn limits(&self) -> &HandshakeLimits {
        &self.limits
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

    /// Whole seconds in which senders without a cookie were too many, those under way not among them. Each is
    /// counted by one shard.
    pub(crate) fn overloaded_seconds(&self) -> u64 {
        self.overloaded_seconds
    }

    /// For `Tunn::new`, which wants one. `Tunn` only resets what it counts, which is nothing.
    pub(crate) fn limiter(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.limiter)
    }
}

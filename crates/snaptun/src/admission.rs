//! Checks of a handshake message before a Diffie-Hellman is spent on it.

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

/// Expected number of cookies per address and second; the messages that get one are drawn at random over the whole
/// second. If the first messages got all of them, a client that retries every 5 s would come too late each time.
const COOKIES_DRAWN: u32 = 400;

/// Number of messages per address and second that take part in the draw while the shared budget is used up. Of the
/// rest, one in [`DRAWN_OF`] does.
const COOKIES_WHILE_OVERLOADED: u32 = 4;

/// See [`COOKIES_WHILE_OVERLOADED`].
const DRAWN_OF: u32 = 8;

/// The shard's defence against handshake floods.
///
/// Messages without a cookie may carry any source address, so they have a separate budget: during a flood of them,
/// messages with a cookie are admitted from another budget, and the excess costs a cookie reply for some of its
/// messages. A reply costs ten times as much as a drop and goes to a host that may not have asked for it, so the number
/// per address is limited.
pub(crate) struct Admission {
    limits: Arc<HandshakeLimits>,
    cookies: Cookies,
    draw_rng: StdRng,
    /// Seconds in which the budget of messages without a cookie was used up, counted by the shard that first saw the
    /// next second.
    overloaded_seconds: u64,
    limiter: Arc<RateLimiter>,
}

/// Rejection of a handshake message by a rate limit.
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
            draw_rng: randomness.generator(),
            overloaded_seconds: 0,
            limiter: Arc::new(RateLimiter::new(public, u64::MAX)),
        }
    }

    /// Returns true if the mac1 of `datagram`, a message of type `M`, is valid: the sender knows our public key.
    pub(crate) fn is_mac1_valid<M: WgHandshakeBase>(&self, datagram: &[u8]) -> bool {
        self.cookies.is_mac1_valid::<M>(datagram)
    }

    /// Admits a handshake message with a valid mac1 if its budget allows.
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

    /// Takes a cookie for a message over `limit` from an address. Returns false if the address gets none.
    pub(crate) fn take_cookie(&mut self, now: Instant, address: IpAddr, limit: Limit) -> bool {
        let wanted = self.limits.count_cookie_wanted(now, address);
        let takes_part = limit == Limit::Address
            || wanted.now <= COOKIES_WHILE_OVERLOADED
            || self.draw_rng.random_ratio(1, DRAWN_OF);
        takes_part
            && self.draw(COOKIES_DRAWN, wanted.now.max(wanted.before))
            && self.limits.take_cookie(now, address)
    }

    /// Returns true for about `winners` out of `messages` messages, at random.
    pub(crate) fn draw(&mut self, winners: u32, messages: u32) -> bool {
        messages <= winners || self.draw_rng.random_ratio(winners, messages)
    }

    /// Returns the limits shared by all shards.
    pub(crate) fn limits(&self) -> &HandshakeLimits {
        &self.limits
    }

    /// Returns the cookie reply to a message.
    pub(crate) fn cookie_reply<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &M,
    ) -> WgCookieReply {
        self.cookies.reply_to(now, from, message)
    }

    /// Returns the number of seconds, the current one excluded, in which the budget of senders without a cookie was
    /// used up. Each second is counted by one shard.
    pub(crate) fn overloaded_seconds(&self) -> u64 {
        self.overloaded_seconds
    }

    /// Returns the limiter that `Tunn::new` requires. `Tunn` only resets its counts, which stay zero.
    pub(crate) fn limiter(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.limiter)
    }
}

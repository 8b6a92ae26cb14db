//! What a handshake message has to pass before a Diffie-Hellman is spent on it.

use std::net::SocketAddr;
use std::sync::Arc;

use ana_gotatun::noise::TunnResult;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::packet::{Packet, WgKind};
use x25519_dalek::PublicKey;

use crate::config::ShardConfig;
use crate::drop_reason::DropReason;

/// The shard's defence against too many handshakes: a limit per source address.
pub(crate) struct Overload {
    limiter: Arc<RateLimiter>,
}

/// Why a message was not admitted.
pub(crate) enum Refusal {
    /// The source sends too many and has shown no cookie: this reply has one.
    CookieDemanded(WgKind),
    Dropped(DropReason),
}

impl Overload {
    pub(crate) fn new(static_public: &PublicKey, config: &ShardConfig) -> Self {
        let limiter = RateLimiter::new(static_public, config.handshakes_per_second_per_ip);
        Overload {
            limiter: Arc::new(limiter),
        }
    }

    /// Admits data and cookie replies at once, handshake messages when their message authentication
    /// codes allow it (WireGuard whitepaper, section 5.3).
    pub(crate) fn admit(&self, from: SocketAddr, packet: Packet) -> Result<WgKind, Refusal> {
        self.limiter
            .verify_packet(from, packet)
            .map_err(|refused| match refused {
                TunnResult::WriteToNetwork(reply) => Refusal::CookieDemanded(reply),
                other => Refusal::Dropped(DropReason::of_result(&other)),
            })
    }

    /// Starts a new second of counting when the last one is over.
    pub(crate) fn reset_if_due(&self) {
        self.limiter.try_reset_count();
    }

    /// For `Tunn::new`, which wants one. It uses it for nothing but `reset_if_due`.
    pub(crate) fn limiter(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.limiter)
    }
}

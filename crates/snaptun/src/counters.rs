//! What a shard counts.

/// Events of one shard since it was made.
///
/// The fate of single packets is not counted here: the return values say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Initiations answered that made a new tunnel.
    pub handshakes_answered_new: u64,
    /// Initiations answered in a tunnel that existed: rekeys, and clients that started again.
    pub handshakes_answered_known: u64,
    /// Initiations sent, retransmissions included.
    pub handshakes_initiated: u64,
    /// Handshakes completed as their initiator.
    pub handshakes_completed: u64,
    /// Handshakes begun with clients that had a tunnel: in the process before, or until the grant of their identity
    /// ended.
    pub restart_handshakes_started: u64,
    /// Of those, completed.
    pub restart_handshakes_completed: u64,
    /// Times that one was put off, because too many would have been begun or there was no room for the tunnel.
    pub restart_handshakes_deferred: u64,
    /// Cookie replies sent because an address sent more handshake messages than it may without a cookie.
    pub cookies_demanded_address_limit: u64,
    /// Cookie replies sent because more initiations without a cookie came than all shards take in.
    pub cookies_demanded_total_limit: u64,
    /// Cookie replies sent to clients that want the address of a silent tunnel.
    pub cookies_demanded_takeover: u64,
    /// Handshake messages that were admitted because they showed a cookie.
    pub handshakes_verified: u64,
    /// Initiations answered although all limits were used up, because the client of a tunnel in use made them.
    pub handshakes_beyond_limits: u64,
    /// Handshakes begun because a tunnel's session is old and initiations from its address were refused unopened.
    pub handshakes_under_pressure: u64,
    /// Seconds in which the budget of initiations without a cookie was used up. Of all shards of a gateway, one counts
    /// each of them.
    pub overloaded_seconds: u64,
    /// Keepalives sent because the peer's data was not answered with data.
    pub keepalives_sent: u64,
    /// Tunnels that came into being.
    pub tunnels_created: u64,
    /// Tunnels removed after a long silence: no new session for 540 s, or no answer to our
    /// initiations for 90 s; 5 s for those that the gateway began.
    pub tunnels_expired: u64,
    /// Tunnels removed because their identity may no longer have one.
    pub tunnels_revoked: u64,
    /// Tunnels removed because another client has their address now.
    pub tunnels_replaced: u64,
    /// Tunnels removed because there were too many: of their identity, without a word from their peer, or
    /// in the shard.
    pub tunnels_evicted: u64,
    /// Tunnels removed because their identity uses a newer one
    /// ([`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity)).
    pub tunnels_moved: u64,
    /// Packets that waited for a session and were then encapsulated.
    pub waiting_sent: u64,
    /// Packets that were waiting when their tunnel expired.
    pub waiting_discarded_expired: u64,
    /// Packets that were waiting when their tunnel was revoked.
    pub waiting_discarded_revoked: u64,
    /// Packets that were waiting when their tunnel had to make room for another.
    pub waiting_discarded_displaced: u64,
}

impl ShardCounters {
    /// Cookie replies sent, for whatever reason.
    #[must_use]
    pub fn cookie_replies_sent(&self) -> u64 {
        self.cookies_demanded_address_limit
            + self.cookies_demanded_total_limit
            + self.cookies_demanded_takeover
    }
}

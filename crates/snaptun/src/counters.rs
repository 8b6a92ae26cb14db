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
    /// Cookie replies sent because a source sends too many handshake messages.
    pub cookie_replies_sent: u64,
    /// Keepalives sent because the peer's data was not answered with data.
    pub keepalives_sent: u64,
    /// Tunnels that came into being.
    pub tunnels_created: u64,
    /// Tunnels removed after a long silence: no new session for 540 s, or no answer to our
    /// initiations for 90 s.
    pub tunnels_expired: u64,
    /// Tunnels removed because their identity may no longer have one.
    pub tunnels_revoked: u64,
    /// Packets that waited for a session and were then encapsulated.
    pub waiting_sent: u64,
    /// Packets that were waiting when their tunnel expired.
    pub waiting_discarded_expired: u64,
    /// Packets that were waiting when their tunnel was revoked.
    pub waiting_discarded_revoked: u64,
}

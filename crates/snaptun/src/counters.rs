//! Event counters of a shard.

macro_rules! shard_counters {
    ($($(#[$doc:meta])+ $counter:ident,)+) => {
        /// Event counters of one shard since its creation.
        ///
        /// Fates of single packets are not counted here: the handling methods return them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShardCounters {
            $($(#[$doc])+ pub $counter: u64,)+
        }

        impl ShardCounters {
            /// Number of counters.
            pub const COUNT: usize = [$(stringify!($counter)),+].len();

            /// Returns all counters as one value, in the order of the fields.
            #[must_use]
            pub const fn to_array(&self) -> [u64; Self::COUNT] {
                [$(self.$counter),+]
            }

            /// Returns the counters in an array made by [`to_array`](Self::to_array).
            #[must_use]
            pub const fn from_array([$($counter),+]: [u64; Self::COUNT]) -> Self {
                Self { $($counter),+ }
            }
        }
    };
}

shard_counters! {
    /// Answered initiations that made a new tunnel.
    handshakes_answered_new,
    /// Answered initiations of existing tunnels: rekeys, and clients that started again.
    handshakes_answered_known,
    /// Initiations sent, including retransmissions.
    handshakes_initiated,
    /// Handshakes completed as the initiator.
    handshakes_completed,
    /// Handshakes begun with clients that had a tunnel in the previous process, until the grant of their identity ended,
    /// or until their sessions were ended.
    restart_handshakes_started,
    /// Completed handshakes of those in `restart_handshakes_started`.
    restart_handshakes_completed,
    /// Deferrals of such handshakes by their rate limit or for lack of room for a tunnel.
    restart_handshakes_deferred,
    /// Cookie replies to addresses over their limit of handshake messages without a cookie.
    cookies_demanded_address_limit,
    /// Cookie replies sent while the budget of initiations without a cookie was used up.
    cookies_demanded_total_limit,
    /// Cookie replies to clients that may take over the address of a silent tunnel.
    cookies_demanded_takeover,
    /// Handshake messages admitted with a cookie.
    handshakes_verified,
    /// Initiations of clients of tunnels in use that were answered beyond all limits.
    handshakes_beyond_limits,
    /// Handshakes begun for an old session while initiations from its address are refused unopened.
    handshakes_under_pressure,
    /// Seconds in which the budget of initiations without a cookie was used up. Each is counted by one shard of a
    /// gateway.
    overloaded_seconds,
    /// Keepalives sent because the peer's data was not answered with data.
    keepalives_sent,
    /// Tunnels created.
    tunnels_created,
    /// Tunnels removed after silence: no new session for 540 s, no response to our initiations for 90 s, or none within
    /// 5 s to a handshake with a remembered client.
    tunnels_expired,
    /// Tunnels removed because their identity is no longer authorized.
    tunnels_revoked,
    /// Tunnels replaced by one of another client at the same address.
    tunnels_replaced,
    /// Tunnels removed by the limit of tunnels of an identity, of half-open tunnels, or of the shard.
    tunnels_evicted,
    /// Tunnels removed because their identity uses a newer one
    /// ([`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity)).
    tunnels_moved,
    /// Tunnels removed because their session ended while time leapt, or by
    /// [`end_sessions`](crate::SnapTunServer::end_sessions). The shard begins new handshakes with their clients.
    tunnels_reopened,
    /// Packets sent after waiting for a session.
    waiting_sent,
    /// Packets that were waiting when their tunnel expired or was removed to be reopened.
    waiting_discarded_expired,
    /// Packets that were waiting when their tunnel was revoked.
    waiting_discarded_revoked,
    /// Packets that were waiting when their tunnel was replaced, evicted or moved.
    waiting_discarded_displaced,
}

impl ShardCounters {
    /// Returns the number of initiations answered, in new and in existing tunnels.
    #[must_use]
    pub const fn handshakes_answered(&self) -> u64 {
        self.handshakes_answered_new + self.handshakes_answered_known
    }

    /// Returns the number of cookie replies sent.
    #[must_use]
    pub fn cookie_replies_sent(&self) -> u64 {
        self.cookies_demanded_address_limit
            + self.cookies_demanded_total_limit
            + self.cookies_demanded_takeover
    }
}

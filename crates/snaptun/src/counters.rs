//! What a shard counts.

macro_rules! shard_counters {
    ($($(#[$doc:meta])+ $counter:ident,)+) => {
        /// Events of one shard since it was made.
        ///
        /// The fate of single packets is not counted here: the return values say it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShardCounters {
            $($(#[$doc])+ pub $counter: u64,)+
        }

        impl ShardCounters {
            /// How many counters there are.
            pub const COUNT: usize = [$(stringify!($counter)),+].len();

            /// All counters, to publish them as one value.
            #[must_use]
            pub const fn to_array(&self) -> [u64; Self::COUNT] {
                [$(self.$counter),+]
            }

            /// The counters that [`to_array`](Self::to_array) made an array of.
            #[must_use]
            pub const fn from_array([$($counter),+]: [u64; Self::COUNT]) -> Self {
                Self { $($counter),+ }
            }
        }
    };
}

shard_counters! {
    /// Initiations answered that made a new tunnel.
    handshakes_answered_new,
    /// Initiations answered in a tunnel that existed: rekeys, and clients that started again.
    handshakes_answered_known,
    /// Initiations sent, retransmissions included.
    handshakes_initiated,
    /// Handshakes completed as their initiator.
    handshakes_completed,
    /// Handshakes begun with clients that had a tunnel: in the process before, or until the grant of their identity
    /// ended.
    restart_handshakes_started,
    /// Of those, completed.
    restart_handshakes_completed,
    /// Times that one was put off, because too many would have been begun or there was no room for the tunnel.
    restart_handshakes_deferred,
    /// Cookie replies sent because an address sent more handshake messages than it may without a cookie.
    cookies_demanded_address_limit,
    /// Cookie replies sent because more initiations without a cookie came than all shards take in.
    cookies_demanded_total_limit,
    /// Cookie replies sent to clients that want the address of a silent tunnel.
    cookies_demanded_takeover,
    /// Handshake messages that were admitted because they showed a cookie.
    handshakes_verified,
    /// Initiations answered although all limits were used up, because the client of a tunnel in use made them.
    handshakes_beyond_limits,
    /// Handshakes begun because a tunnel's session is old and initiations from its address were refused unopened.
    handshakes_under_pressure,
    /// Seconds in which the budget of initiations without a cookie was used up. Of all shards of a gateway, one counts
    /// each of them.
    overloaded_seconds,
    /// Keepalives sent because the peer's data was not answered with data.
    keepalives_sent,
    /// Tunnels that came into being.
    tunnels_created,
    /// Tunnels removed after a long silence: no new session for 540 s, or no answer to our
    /// initiations for 90 s; 5 s for those that the gateway began.
    tunnels_expired,
    /// Tunnels removed because their identity may no longer have one.
    tunnels_revoked,
    /// Tunnels removed because another client has their address now.
    tunnels_replaced,
    /// Tunnels removed because there were too many: of their identity, without a word from their peer, or
    /// in the shard.
    tunnels_evicted,
    /// Tunnels removed because their identity uses a newer one
    /// ([`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity)).
    tunnels_moved,
    /// Packets that waited for a session and were then encapsulated.
    waiting_sent,
    /// Packets that were waiting when their tunnel expired.
    waiting_discarded_expired,
    /// Packets that were waiting when their tunnel was revoked.
    waiting_discarded_revoked,
    /// Packets that were waiting when their tunnel had to make room for another.
    waiting_discarded_displaced,
}

impl ShardCounters {
    /// Initiations answered, in new and in existing tunnels.
    #[must_use]
    pub const fn handshakes_answered(&self) -> u64 {
        self.handshakes_answered_new + self.handshakes_answered_known
    }

    /// Cookie replies sent, for whatever reason.
    #[must_use]
    pub fn cookie_replies_sent(&self) -> u64 {
        self.cookies_demanded_address_limit
            + self.cookies_demanded_total_limit
            + self.cookies_demanded_takeover
    }
}

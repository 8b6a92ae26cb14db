//! Fates of datagrams and packets.

use std::fmt;

use ana_gotatun::packet::Packet;

use crate::drop_reason::DropReason;

/// Fate of an incoming datagram.
///
/// It borrows the shard for the session data: copy what you need of that before the next call. The packet is owned.
#[must_use]
pub enum Incoming<'a, S> {
    /// The datagram carried a packet.
    Delivered {
        /// Inner packet, byte for byte as sent by the peer; never empty.
        ///
        /// Clients may pad packets with zeros to a multiple of 16 bytes (WireGuard whitepaper, section 5.4.6). The
        /// shard cannot tell padding from data: take the length from the packet's own header.
        packet: Packet,
        /// Session data of the peer's grant.
        session_data: &'a S,
    },
    /// Valid message without a packet to deliver.
    Consumed(Consumed),
    /// The datagram was dropped.
    Dropped(DropReason),
}

/// Kind of a valid incoming message without a packet to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumed {
    /// Initiation, which was answered.
    HandshakeAnswered {
        /// The initiation made a new tunnel.
        new_tunnel: bool,
    },
    /// Response to our initiation.
    HandshakeCompleted,
    /// Handshake message that was answered with a cookie and otherwise ignored.
    CookieReplySent,
    /// Cookie for our next initiation.
    CookieReceived,
    /// Empty data message.
    Keepalive,
}

/// Fate of an outgoing packet.
///
/// It borrows the shard for the session data, like [`Incoming`].
#[must_use]
pub enum Outgoing<'a, S> {
    /// Its datagram was appended to `send_to_network`.
    Encapsulated {
        /// Session data of the peer's grant.
        session_data: &'a S,
    },
    /// A copy of it waits for a session. Later sent as [`Payload::Forwarded`](crate::Payload::Forwarded), or discarded
    /// with its tunnel and counted in [`ShardCounters`](crate::ShardCounters).
    Waiting {
        /// Session data of the peer's grant.
        session_data: &'a S,
    },
    /// The packet was dropped.
    Dropped {
        /// Reason of the drop. [`DropReason::NoTunnel`]: the address has no tunnel.
        reason: DropReason,
        /// The packet, unchanged.
        packet: Packet,
    },
}

impl<S> fmt::Debug for Incoming<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incoming::Delivered { packet, .. } => f
                .debug_struct("Delivered")
                .field("packet_bytes", &packet.len())
                .finish_non_exhaustive(),
            Incoming::Consumed(consumed) => f.debug_tuple("Consumed").field(consumed).finish(),
            Incoming::Dropped(reason) => f.debug_tuple("Dropped").field(reason).finish(),
        }
    }
}

impl<S> fmt::Debug for Outgoing<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outgoing::Encapsulated { .. } => f.write_str("Encapsulated"),
            Outgoing::Waiting { .. } => f.write_str("Waiting"),
            Outgoing::Dropped { reason, packet } => f
                .debug_struct("Dropped")
                .field("reason", reason)
                .field("packet_bytes", &packet.len())
                .finish(),
        }
    }
}

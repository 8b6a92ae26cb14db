//! The fates of datagrams and packets.

use std::fmt;

use ana_gotatun::packet::Packet;

use crate::drop_reason::DropReason;

/// The fate of an incoming datagram.
#[must_use]
pub enum Incoming<'a, S> {
    /// It carried a packet.
    Delivered {
        /// What was inside, byte for byte as the peer sent it; never empty. Clients may have padded it.
        packet: Packet,
        /// What the authorization layer said about the peer.
        session_data: &'a S,
    },
    /// It was a valid message with nothing to deliver.
    Consumed(Consumed),
    /// It went no further.
    Dropped(DropReason),
}

/// A valid incoming message with nothing to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumed {
    /// An initiation, which was answered.
    HandshakeAnswered {
        /// It made a new tunnel.
        new_tunnel: bool,
    },
    /// The answer to our initiation.
    HandshakeCompleted,
    /// A handshake message whose sender has to show a cookie: it was answered with one and is otherwise
    /// forgotten.
    CookieReplySent,
    /// A cookie for our next initiation.
    CookieReceived,
    /// An empty data message.
    Keepalive,
}

/// The fate of an outgoing packet.
#[must_use]
pub enum Outgoing<'a, S> {
    /// Its datagram was appended to `send_to_network`.
    Encapsulated {
        /// What the authorization layer said about the peer.
        session_data: &'a S,
    },
    /// It waits for a session. Later it is either sent, as [`Payload::Forwarded`](crate::Payload::Forwarded), or discarded with its
    /// tunnel and counted in [`ShardCounters`](crate::ShardCounters).
    Waiting {
        /// What the authorization layer said about the peer.
        session_data: &'a S,
    },
    /// It went no further.
    Dropped {
        /// Why. [`DropReason::NoTunnel`]: the address is no tunnel's.
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

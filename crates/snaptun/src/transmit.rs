//! Datagrams for the network.

use std::fmt;

use ana_gotatun::packet::{Packet, WgCookieReply};

use crate::endpoint::Endpoint;

/// A datagram to send.
pub struct Transmit {
    /// Where to, and from which local side.
    pub to: Endpoint,
    /// The complete UDP payload: one SNAPtun message.
    pub packet: Packet,
    /// On whose behalf.
    pub payload: Payload,
}

impl Transmit {
    /// A message of the shard's own.
    pub(crate) fn protocol(to: Endpoint, message: impl Into<Packet>) -> Self {
        Transmit {
            to,
            packet: message.into(),
            payload: Payload::Protocol,
        }
    }

    /// A data message that carries a packet of the caller.
    pub(crate) fn forwarded(to: Endpoint, data: Packet) -> Self {
        Transmit {
            to,
            packet: data,
            payload: Payload::Forwarded,
        }
    }

    /// A cookie reply, to where the message came from that it answers. That proves nothing about a tunnel's peer.
    pub(crate) fn cookie_reply(to: Endpoint, reply: &WgCookieReply) -> Self {
        Self::protocol(to, Packet::copy_from(reply).into_bytes())
    }
}

/// On whose behalf a datagram is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// It carries one packet that was given to
    /// [`handle_outgoing_packet`](crate::SnapTunServer::handle_outgoing_packet).
    Forwarded,
    /// It is the gateway's own: handshake, cookie reply or keepalive, or a packet that was given to
    /// [`send_own_packet`](crate::SnapTunServer::send_own_packet).
    Protocol,
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("to", &self.to)
            .field("packet_bytes", &self.packet.len())
            .field("payload", &self.payload)
            .finish()
    }
}

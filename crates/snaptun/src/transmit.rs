//! Datagrams for the network.

use std::fmt;

use ana_gotatun::packet::{Packet, WgCookieReply};

use crate::endpoint::Endpoint;

/// Datagram to send, in the order in which the shard appended it.
///
/// The shard does not learn if it was sent. A caller may drop it, for example when a send buffer is full: handshakes
/// are repeated, and lost data is lost as on any network.
///
/// With one socket that is bound to one address, the [`Via`](crate::Via) is not needed:
///
/// ```
/// # use std::{io, net::UdpSocket};
/// # use snaptun::Transmit;
/// fn send(socket: &UdpSocket, transmit: &Transmit) -> io::Result<usize> {
///     socket.send_to(&transmit.packet, transmit.to.remote)
/// }
/// ```
pub struct Transmit {
    /// Send from `to.via` to `to.remote`. The destination of a cookie reply is the source of the message that it
    /// answers, which may be spoofed.
    pub to: Endpoint,
    /// Complete UDP payload: one SNAPtun message. Dereferences to `[u8]`.
    pub packet: Packet,
    /// Origin of the payload, for accounting. Sending does not depend on it.
    pub payload: Payload,
    /// The payload is a packet of the caller, and its receiver has sent nothing for 15 s, the sum of `KEEPALIVE_TIMEOUT`
    /// and `REKEY_TIMEOUT`: it is idle or gone. A peer that is there answers data with a keepalive within 10 s. Send
    /// the datagram either way; the flag is for statistics, or for an error to the sender of the packet.
    pub to_silent_peer: bool,
}

impl Transmit {
    /// Returns a message of the shard itself.
    pub(crate) fn protocol(to: Endpoint, message: impl Into<Packet>) -> Self {
        Transmit {
            to,
            packet: message.into(),
            payload: Payload::Protocol,
            to_silent_peer: false,
        }
    }

    /// Returns a data message with a packet of the caller.
    pub(crate) fn forwarded(to: Endpoint, data: Packet, to_silent_peer: bool) -> Self {
        Transmit {
            to,
            packet: data,
            payload: Payload::Forwarded,
            to_silent_peer,
        }
    }

    /// Returns a cookie reply to the source of the message that it answers, which may be spoofed.
    pub(crate) fn cookie_reply(to: Endpoint, reply: &WgCookieReply) -> Self {
        Self::protocol(to, Packet::copy_from(reply).into_bytes())
    }
}

/// Origin of a datagram's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Packet of the caller from [`handle_outgoing_packet`](crate::SnapTunServer::handle_outgoing_packet).
    Forwarded,
    /// Message of the gateway: handshake, cookie reply, keepalive, or a packet from
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

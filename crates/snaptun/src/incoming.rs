//! The way of a datagram from the network into a tunnel.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use ana_gotatun::packet::{Packet, WgKind};

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::message::MessageKind;
use crate::overload::Refusal;
use crate::server::{Removal, SnapTunServer};
use crate::transmit::{Payload, Transmit};
use crate::tunnel::Received;
use crate::tunnel_table::Slot;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// An initiation, which was answered.
    HandshakeAnswered {
        /// It made a new tunnel.
        new_tunnel: bool,
    },
    /// The answer to our initiation.
    HandshakeCompleted,
    /// A handshake message of a source that sends too many: it was answered with a cookie and is
    /// otherwise forgotten.
    CookieReplySent,
    /// A cookie for our next initiation.
    CookieReceived,
    /// An empty data message.
    Keepalive,
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Takes in one datagram from the network.
    ///
    /// `packet` is the UDP payload, `from` where it came from. Whatever has to be sent is appended to
    /// `send_to_network`: answers, and, once the peer can read them, all packets that waited in the tunnel.
    pub fn handle_incoming_packet(
        &mut self,
        now: Instant,
        packet: Packet,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let Some(kind) = MessageKind::of(&packet) else {
            return Incoming::Dropped(DropReason::Malformed);
        };
        let slot = self.tunnels.find(from.remote);
        if slot.is_none() && kind != MessageKind::Initiation {
            return Incoming::Dropped(DropReason::NoTunnel);
        }
        if kind == MessageKind::Initiation && self.has_seen(&packet) {
            return Incoming::Dropped(DropReason::ReplayedInitiation);
        }
        let message = match self.overload.admit(from.remote, packet) {
            Ok(message) => message,
            Err(Refusal::CookieDemanded(reply)) => {
                self.counters.cookie_replies_sent += 1;
                // To where this message came from: it proves nothing about the tunnel's peer.
                send_to_network.push_back(protocol_message(from, reply));
                return Incoming::Consumed(Consumed::CookieReplySent);
            }
            Err(Refusal::Dropped(reason)) => return Incoming::Dropped(reason),
        };
        if let WgKind::HandshakeInit(initiation) = message {
            return self.receive_initiation(slot, now, initiation, from, send_to_network);
        }
        let Some(slot) = slot else {
            return Incoming::Dropped(DropReason::NoTunnel);
        };
        match self.prepare(slot, now, send_to_network) {
            Ok(()) => self.receive_in_tunnel(slot, now, message, from, send_to_network),
            Err(reason) => Incoming::Dropped(reason),
        }
    }

    /// Takes in a message for the tunnel in `slot`.
    pub(crate) fn receive_in_tunnel(
        &mut self,
        slot: Slot,
        now: Instant,
        message: WgKind,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return Incoming::Dropped(DropReason::NoTunnel);
        };
        let received = match tunnel.receive(now, message, from) {
            Ok(received) => received,
            Err(reason) => return Incoming::Dropped(reason),
        };
        // What waited goes out behind an answer, and before the tunnel is lent to the caller.
        let delivered: Result<Packet, Consumed> = match received {
            Received::Packet(packet) => Ok(packet),
            Received::Keepalive => Err(Consumed::Keepalive),
            Received::Initiation(response) => {
                self.counters.handshakes_answered_known += 1;
                send_to_network.push_back(protocol_message(from, response));
                Err(Consumed::HandshakeAnswered { new_tunnel: false })
            }
            Received::Response(keepalive) => {
                self.counters.handshakes_completed += 1;
                send_to_network.push_back(protocol_message(from, keepalive));
                Err(Consumed::HandshakeCompleted)
            }
            Received::CookieReply => Err(Consumed::CookieReceived),
        };
        self.counters.waiting_sent += tunnel.send_waiting(&mut self.waiting, send_to_network);
        match delivered {
            Ok(packet) => Incoming::Delivered {
                packet,
                session_data: tunnel.session_data(),
            },
            Err(consumed) => Incoming::Consumed(consumed),
        }
    }

    /// Makes a tunnel ready for a message to pass.
    ///
    /// # Errors
    /// The tunnel is gone: its identity is no longer authorized, or its time is over.
    pub(crate) fn prepare(
        &mut self,
        slot: Slot,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Result<(), DropReason> {
        if !self.authorize(slot, now) {
            return Err(DropReason::Unauthorized);
        }
        let is_quiet = self
            .tunnels
            .get_mut(slot)
            .is_some_and(|tunnel| tunnel.is_quiet(now));
        if is_quiet && !self.catch_up(slot, now, send_to_network) {
            return Err(DropReason::NoTunnel);
        }
        Ok(())
    }

    /// Whether the tunnel's identity is still authorized. If not, the tunnel is gone.
    pub(crate) fn authorize(&mut self, slot: Slot, now: Instant) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return false;
        };
        let authorized = tunnel.is_authorized(&*self.authorization, now, self.generation);
        if !authorized {
            self.remove(slot, Removal::Revoked);
        }
        authorized
    }
}

pub(crate) fn protocol_message(to: Endpoint, message: WgKind) -> Transmit {
    Transmit {
        to,
        packet: message.into(),
        payload: Payload::Protocol,
    }
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

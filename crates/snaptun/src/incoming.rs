//! The way of a datagram from the network into a tunnel.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use ana_gotatun::packet::{Packet, WgCookieReply, WgHandshakeBase, WgHandshakeResp, WgKind};

use crate::allowance::COOKIES_DRAWN;
use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::handshake_limits::{Limit, Purpose, Sender};
use crate::message::MessageKind;
use crate::moves::Move;
use crate::overload::Excess;
use crate::server::{Removal, SnapTunServer};
use crate::stack::on_wiped_stack;
use crate::transmit::{Payload, Transmit};
use crate::tunnel::{Received, Tunnel};
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
        if let Err(reason) = self.screen(kind, from.remote, &packet) {
            return Incoming::Dropped(reason);
        }
        self.handle_message(kind, now, packet, from, send_to_network)
    }

    /// Takes in a handshake message that [`screen_handshake`](Self::screen_handshake) let pass, as
    /// [`handle_incoming_packet`](Self::handle_incoming_packet) does, and does not verify its mac1 again.
    ///
    /// The shard may have changed in between. A message that was not screened, and whose sender does not know our
    /// public key, costs a share of the limits.
    pub fn handle_screened_packet(
        &mut self,
        now: Instant,
        packet: Packet,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        match MessageKind::of(&packet) {
            Some(kind) => self.handle_message(kind, now, packet, from, send_to_network),
            None => Incoming::Dropped(DropReason::Malformed),
        }
    }

    fn handle_message(
        &mut self,
        kind: MessageKind,
        now: Instant,
        packet: Packet,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let slot = self.tunnels.find(from.remote);
        if slot.is_none() {
            match kind {
                MessageKind::Initiation => {}
                MessageKind::Data => {
                    let reason = self.restart_tunnel(now, from, send_to_network);
                    return Incoming::Dropped(reason);
                }
                _ => return Incoming::Dropped(DropReason::NoTunnel),
            }
        }
        // What `MessageKind` knows is refused by nobody.
        let Ok(message) = packet.try_into_wg() else {
            return Incoming::Dropped(DropReason::Malformed);
        };
        if let WgKind::HandshakeInit(initiation) = message {
            return self.receive_initiation(slot, now, initiation, from, send_to_network);
        }
        let Some(slot) = slot else {
            return Incoming::Dropped(DropReason::NoTunnel);
        };
        if let WgKind::HandshakeResp(response) = &message
            && !self.is_first_response(slot, response)
            && let Err(excess) = self.admit(now, from, Purpose::Response, &**response)
        {
            return self.refuse(Some(slot), now, excess, &**response, from, send_to_network);
        }
        match self.prepare(slot, now, send_to_network) {
            Ok(()) if kind == MessageKind::Response => on_wiped_stack(move || {
                self.receive_in_tunnel(slot, now, message, from, send_to_network)
            }),
            Ok(()) => self.receive_in_tunnel(slot, now, message, from, send_to_network),
            Err(reason) => Incoming::Dropped(reason),
        }
    }

    /// Whether a response needs no admission, because it is the first to an initiation of ours: there are no more
    /// of these than we sent, and none by somebody who did not see the initiation.
    fn is_first_response(&mut self, slot: Slot, response: &WgHandshakeResp) -> bool {
        let tunnel = self.tunnels.get_mut(slot);
        tunnel.is_some_and(|tunnel| tunnel.take_first_response(response.receiver_idx.get()))
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
        let was_confirmed = tunnel.is_confirmed();
        let was_restarting = tunnel.is_restarting();
        let received = match tunnel.receive(now, message, from) {
            Ok(received) => received,
            Err(reason) => return Incoming::Dropped(reason),
        };
        if !was_confirmed && tunnel.is_confirmed() {
            self.census.confirm();
            self.restart.forget(from.remote);
            if self.config.one_tunnel_per_identity {
                self.moves.push_back(Move::to(tunnel));
            }
        }
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
                self.counters.restart_handshakes_completed += u64::from(was_restarting);
                send_to_network.push_back(protocol_message(from, keepalive));
                Err(Consumed::HandshakeCompleted)
            }
            Received::CookieReply => Err(Consumed::CookieReceived),
        };
        self.counters.waiting_sent += tunnel.send_waiting(now, &mut self.waiting, send_to_network);
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

    /// Admits a handshake message if its limits allow it.
    pub(crate) fn admit<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: Endpoint,
        purpose: Purpose,
        message: &M,
    ) -> Result<Sender, Excess> {
        let sender = self.overload.admit(now, from.remote, purpose, message)?;
        self.counters.handshakes_verified += u64::from(sender == Sender::Verified);
        Ok(sender)
    }

    /// Ends the way of a handshake message that was not admitted; `slot` is the tunnel of its address.
    ///
    /// The address of a tunnel in use has cookies of its own, whoever uses up those of its IP address.
    pub(crate) fn refuse<M: WgHandshakeBase>(
        &mut self,
        slot: Option<Slot>,
        now: Instant,
        excess: Excess,
        message: &M,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let Excess { sender, limit } = excess;
        if sender == Sender::Verified {
            return Incoming::Dropped(match limit {
                Limit::Address => DropReason::AddressHandshakeLimit,
                Limit::Total => DropReason::TotalHandshakeLimit,
            });
        }
        let own = slot
            .and_then(|slot| self.tunnels.get_mut(slot))
            .and_then(Tunnel::allowance);
        let may_have_cookie = match own {
            Some(allowance) => {
                allowance.take_cookie(now, |nth| self.overload.draw(COOKIES_DRAWN, nth))
            }
            None => self.overload.take_cookie(now, from.remote.ip(), limit),
        };
        if !may_have_cookie {
            return Incoming::Dropped(DropReason::CookieReplyLimit);
        }
        match limit {
            Limit::Address => self.counters.cookies_demanded_address_limit += 1,
            Limit::Total => self.counters.cookies_demanded_total_limit += 1,
        }
        let reply = self.overload.cookie_reply(now, from.remote, message);
        send_to_network.push_back(cookie_message(from, &reply));
        Incoming::Consumed(Consumed::CookieReplySent)
    }

    /// Whether the tunnel's identity is still authorized. If not, the tunnel is gone.
    pub(crate) fn authorize(&mut self, slot: Slot, now: Instant) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return false;
        };
        let authorized = tunnel.is_authorized(&*self.authorization, now, self.generation);
        if !authorized && let Some(tunnel) = self.remove(slot, Removal::Revoked) {
            self.remember_lapsed(now, &tunnel);
        }
        authorized
    }
}

/// To where the message came from that it answers, which proves nothing about a tunnel's peer.
pub(crate) fn cookie_message(from: Endpoint, reply: &WgCookieReply) -> Transmit {
    Transmit {
        to: from,
        packet: Packet::copy_from(reply).into_bytes(),
        payload: Payload::Protocol,
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

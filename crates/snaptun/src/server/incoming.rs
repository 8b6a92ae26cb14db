//! Path of a datagram from the network into a tunnel.

use std::collections::VecDeque;
use std::time::Instant;

use ana_gotatun::packet::{Packet, WgHandshakeResp, WgKind};

use crate::admission::handshake_limits::Purpose;
use crate::authorization::SnapTunAuthorization;
use crate::crypto::stack::on_wiped_stack;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::event::Move;
use crate::fate::{Consumed, Incoming};
use crate::protocol::MessageKind;
use crate::server::{Removal, SnapTunServer};
use crate::transmit::Transmit;
use crate::tunnel::Received;
use crate::tunnel_table::Slot;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Handles one datagram from the network.
    ///
    /// `packet` is the UDP payload, `from` its source and the local side that received it. Datagrams to send are
    /// appended to `send_to_network`: answers, and all packets that waited in the tunnel once the peer can decrypt
    /// them.
    ///
    /// A data message is decrypted in its buffer and costs about 1.5 µs at 1400 bytes. An initiation that is answered
    /// costs up to 0.6 ms of key agreements; a caller with much data and many handshakes should queue the handshake messages, see
    /// [`screen_handshake`](Self::screen_handshake).
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
        if let Err(reason) = self.screen_handshake(kind, from.remote, &packet) {
            return Incoming::Dropped(reason);
        }
        self.handle_screened_packet(now, packet, from, send_to_network)
    }

    /// Handles a data message, or a handshake message accepted by [`screen_handshake`](Self::screen_handshake), like
    /// [`handle_incoming_packet`](Self::handle_incoming_packet) but without its checks of type and mac1.
    ///
    /// The shard may change between the two calls. A handshake message that was not screened counts against the limits
    /// even if its mac1 is wrong. A datagram that is not a message is dropped as
    /// [`Malformed`](DropReason::Malformed), at a higher cost than by [`MessageKind::of`].
    pub fn handle_screened_packet(
        &mut self,
        now: Instant,
        packet: Packet,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        // Never fails for a known `MessageKind`.
        let Ok(message) = packet.try_into_wg() else {
            return Incoming::Dropped(DropReason::Malformed);
        };
        let slot = self.tunnels.find(from.remote);
        match (message, slot) {
            (WgKind::HandshakeInit(initiation), slot) => {
                self.receive_initiation(slot, now, initiation, from, send_to_network)
            }
            (WgKind::HandshakeResp(response), Some(slot)) => {
                self.receive_response(slot, now, response, from, send_to_network)
            }
            (message, Some(slot)) => {
                self.receive_if_ready(slot, now, message, from, send_to_network)
            }
            (WgKind::Data(_), None) => {
                Incoming::Dropped(self.restart_tunnel(now, from, send_to_network))
            }
            (_, None) => Incoming::Dropped(DropReason::NoTunnel),
        }
    }

    /// Handles a response.
    ///
    /// The first response to each of our initiations needs no admission: their number is bounded by our initiations,
    /// and only an observer of an initiation can make one.
    fn receive_response(
        &mut self,
        slot: Slot,
        now: Instant,
        response: Packet<WgHandshakeResp>,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return Incoming::Dropped(DropReason::NoTunnel);
        };
        let index = response.receiver_idx.get();
        if tunnel.outstanding().is_unanswered(index) {
            tunnel.note_response(index);
        } else if let Err(excess) = self.admit(now, from, Purpose::Response, &*response) {
            return self.refuse(Some(slot), now, excess, &*response, from, send_to_network);
        }
        on_wiped_stack(move || {
            self.receive_if_ready(slot, now, response.into(), from, send_to_network)
        })
    }

    /// Handles a message for the tunnel in `slot`, unless the tunnel turns out to be gone.
    fn receive_if_ready(
        &mut self,
        slot: Slot,
        now: Instant,
        message: WgKind,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        match self.prepare(slot, now, send_to_network) {
            Ok(()) => self.receive_in_tunnel(slot, now, message, from, send_to_network),
            Err(reason) => Incoming::Dropped(reason),
        }
    }

    /// Handles a message for the tunnel in `slot`.
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
        let was_in_use = tunnel.is_in_use();
        let was_restarting = tunnel.is_restarting();
        let received = match tunnel.receive(now, message, from) {
            Ok(received) => received,
            Err(reason) => return Incoming::Dropped(reason),
        };
        if !was_in_use && tunnel.is_in_use() {
            self.census.confirm();
            self.restart.forget(from.remote);
            if self.config.one_tunnel_per_identity {
                self.events.push_move(Move {
                    identity: *tunnel.identity(),
                    at: tunnel.created_at(),
                });
            }
        }
        // Waiting packets are sent after an answer, and before the caller borrows the tunnel.
        let delivered: Result<Packet, Consumed> = match received {
            Received::Packet(packet) => Ok(packet),
            Received::Keepalive => Err(Consumed::Keepalive),
            Received::Initiation(response) => {
                self.counters.handshakes_answered_known += 1;
                send_to_network.push_back(Transmit::protocol(from, response));
                Err(Consumed::HandshakeAnswered { new_tunnel: false })
            }
            Received::Response(keepalive) => {
                self.counters.handshakes_completed += 1;
                self.counters.restart_handshakes_completed += u64::from(was_restarting);
                send_to_network.push_back(Transmit::protocol(from, keepalive));
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

    /// Prepares a tunnel for a message: checks that its sessions may be used, checks its authorization, and brings its
    /// timers up to date.
    ///
    /// # Errors
    /// Fails if this removed the tunnel: its sessions were ended, its identity is no longer authorized, or it expired.
    pub(crate) fn prepare(
        &mut self,
        slot: Slot,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Result<(), DropReason> {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return Err(DropReason::NoTunnel);
        };
        if tunnel.number() < self.first_valid {
            self.reopen(slot, now);
            return Err(DropReason::NoTunnel);
        }
        let authorization = &*self.authorization;
        if !tunnel.is_authorized(authorization, now, self.generation, &mut self.events) {
            self.revoke(slot, now);
            return Err(DropReason::Unauthorized);
        }
        if tunnel.needs_check(now) && !self.catch_up(slot, now, send_to_network) {
            return Err(DropReason::NoTunnel);
        }
        Ok(())
    }

    /// Removes the tunnel of an identity that is no longer authorized.
    pub(crate) fn revoke(&mut self, slot: Slot, now: Instant) {
        if let Some(tunnel) = self.remove(slot, Removal::Revoked) {
            self.remember_lapsed(now, &tunnel);
        }
    }
}

//! Packets from a tunnel socket towards SCION.

use std::net::SocketAddr;
use std::time::Instant;

use ana_gotatun::packet::Packet;
use snaptun::protocol::{DATA_OVERHEAD_BYTES, MessageKind};
use snaptun::{Consumed, Endpoint, Incoming, Via};
use udp_shards::{ReceiveBatch, Received};

use crate::drop_reason::{DropReason, ReceiveError};
use crate::mailbox::Message;
use crate::worker::handshake_queue::Arrival;
use crate::worker::pipeline::Pipeline;
use crate::worker::upstream::{Route, Upstream};

/// Drop reason of a datagram that is not a SNAPtun message.
const MALFORMED: DropReason = DropReason::Tunnel(snaptun::DropReason::Malformed);

/// Returns true if any datagram of the train looks like a SNAPtun message by its first bytes and length. For trains of
/// honest senders, and of datagrams that are too short, the first check decides.
fn may_hold_message(train: &Received) -> bool {
    train.segment_size >= DATA_OVERHEAD_BYTES
        && train
            .buffer
            .chunks(train.segment_size)
            .any(|datagram| MessageKind::of(datagram).is_some())
}

/// Returns true for an address that is unique on one link only. SCION addresses have no interface, so answers could not
/// find the tunnel, and two clients could have the same address.
fn is_link_local(from: SocketAddr) -> bool {
    matches!(from, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

impl Pipeline {
    /// Handles all trains of a batch received on a socket of `listener`.
    pub(crate) fn receive_trains(&mut self, listener: u16, batch: &mut ReceiveBatch) {
        let now = self.clock.now();
        for train in batch.drain() {
            self.receive_incoming(now, listener, train);
        }
    }

    /// Handles a train received on a socket of `listener`.
    fn receive_incoming(&mut self, now: Instant, listener: u16, train: Received) {
        let packets = train.datagram_count() as u64;
        self.counters.received_incoming_packets += packets;
        self.counters.received_incoming_bytes += train.buffer.len() as u64;
        self.work += 1;
        if !may_hold_message(&train) {
            return self.drop_packets(MALFORMED, packets);
        }
        if is_link_local(train.from) {
            return self.drop_packets(ReceiveError::LinkLocalClient.into(), packets);
        }
        let owner = self.owners.owner_of(train.from);
        if owner == self.owners.me {
            self.handle_incoming_train(now, listener, train);
            return;
        }
        self.counters.handovers += packets;
        self.hand_over(owner, Message::Incoming { listener, train });
    }

    /// Splits a train from an address that this worker owns.
    ///
    /// The kernel merges any datagrams that look like those of one sender, so each is judged separately.
    pub(crate) fn handle_incoming_train(&mut self, now: Instant, listener: u16, train: Received) {
        let from = Endpoint {
            remote: train.from,
            via: Via {
                listener,
                local_ip: train.local_ip,
            },
        };
        let datagrams = train.datagram_count();
        let arrival = if datagrams == 1 {
            Arrival::Single
        } else {
            Arrival::InTrain
        };
        self.work += datagrams as u64;
        for datagram in self.take_apart(train) {
            match MessageKind::of(&datagram) {
                None => self.drop_packet(MALFORMED),
                Some(MessageKind::Data) => {
                    self.handle_incoming(now, from, Packet::from_bytes(datagram));
                }
                Some(kind) => self.receive_handshake(kind, from, &datagram, arrival),
            }
        }
    }

    /// Decapsulates one datagram (data, or a screened handshake message) and forwards its content.
    pub(super) fn handle_incoming(&mut self, now: Instant, from: Endpoint, datagram: Packet) {
        match self
            .shard
            .handle_screened_packet(now, datagram, from, &mut self.transmits)
        {
            Incoming::Delivered { packet, .. } => self.forward(now, from, packet),
            Incoming::Consumed(consumed) => match consumed {
                Consumed::HandshakeAnswered { .. } | Consumed::HandshakeCompleted => {
                    self.counters.delivered_handshakes += 1;
                }
                Consumed::CookieReplySent | Consumed::CookieReceived => {
                    self.counters.delivered_cookies += 1;
                }
                Consumed::Keepalive => self.counters.delivered_keepalives += 1,
            },
            Incoming::Dropped(reason) => self.drop_packet(DropReason::Tunnel(reason)),
        }
        self.queue_transmits();
    }

    /// Forwards a packet that came out of the tunnel to `from`.
    fn forward(&mut self, now: Instant, from: Endpoint, mut packet: Packet) {
        let checked = match &self.upstream {
            Upstream::Echo => return self.encapsulate(now, from.remote, packet),
            Upstream::Sink => {
                self.counters.delivered_to_sink += 1;
                return;
            }
            Upstream::Scion(upstream) => upstream
                .policy
                .check(&packet, from.remote)
                .map(|view| (view.total_len(), upstream.route(&view))),
        };
        let (length, route) = match checked {
            Ok(checked) => checked,
            Err(violation) => return self.refuse(now, from, &packet, violation),
        };
        // Clients may pad to a multiple of 16 bytes; routers expect exactly the length in the header.
        packet.truncate(length);
        match route {
            Ok(Route::Router { address, lane }) => self.queue_to_router(lane, address, packet),
            Ok(Route::Local(to)) => self.hairpin(now, to, packet),
            Err(reason) => self.report_unroutable(now, from, &packet, reason),
        }
    }
}

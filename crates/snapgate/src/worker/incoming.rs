//! From a tunnel socket towards SCION.

use std::time::Instant;

use ana_gotatun::packet::Packet;
use snaptun::{Consumed, Endpoint, Incoming, Via};
use udp_shards::Received;

use crate::drop_reason::{DropReason, QueueLoss};
use crate::mailbox::Message;
use crate::worker::handshakes::{HANDSHAKES_PER_TRAIN, is_handshake};
use crate::worker::pipeline::Pipeline;
use crate::worker::upstream::{Route, Upstream};

impl Pipeline {
    /// Takes a train from the socket of `listener`.
    pub(crate) fn receive_incoming(&mut self, now: Instant, listener: u16, train: Received) {
        let packets = train.datagram_count() as u64;
        self.counters.received_incoming_packets += packets;
        self.counters.received_incoming_bytes += train.buffer.len() as u64;

        let owner = self.owners.owner_of(train.from);
        if owner == self.owners.me {
            self.handle_incoming_train(now, listener, train);
            return;
        }
        self.counters.handovers += packets;
        self.hand_over(owner, Message::Incoming { listener, train });
    }

    /// Takes a train of a tunnel that this worker owns apart.
    pub(crate) fn handle_incoming_train(&mut self, now: Instant, listener: u16, train: Received) {
        let from = Endpoint {
            remote: train.from,
            via: Via {
                listener,
                local_ip: train.local_ip,
            },
        };
        let mut handshakes = 0;
        for datagram in self.take_apart(train) {
            if !is_handshake(&datagram) {
                self.handle_incoming(now, from, Packet::from_bytes(datagram));
                continue;
            }
            handshakes += 1;
            if handshakes <= HANDSHAKES_PER_TRAIN {
                self.wait_for_handshake(from, &datagram);
            } else {
                self.drop_packet(DropReason::Queue(QueueLoss::HandshakeTrain));
            }
        }
    }

    /// Decapsulates one datagram and forwards what was in it.
    pub(super) fn handle_incoming(&mut self, now: Instant, from: Endpoint, datagram: Packet) {
        match self
            .shard
            .handle_incoming_packet(now, datagram, from, &mut self.transmits)
        {
            Incoming::Delivered {
                packet,
                session_data: (),
            } => self.forward(now, from, packet),
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

    /// Decides where a packet that came out of the tunnel to `from` goes.
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
        // Clients may pad to a multiple of 16 bytes; routers want exactly what the header says.
        packet.truncate(length);
        match route {
            Ok(Route::Router(router)) => self.queue_upstream(router, packet),
            Ok(Route::Local(to)) => self.hairpin(now, to, packet),
            Err(reason) => self.report_unroutable(now, from, &packet, reason),
        }
    }
}

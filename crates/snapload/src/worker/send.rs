//! Sending due packets, in trains.

use std::net::SocketAddr;

use ana_gotatun::packet::Packet;

use super::Worker;
use super::ports::Outgoing;
use super::prepared::PreparedTrain;
use crate::config::Direction;
use crate::pacing::{Nanos, Pacing};
use crate::stamp::Stamp;

/// Maximum number of packets sent per turn, unless a train is longer: some 60 µs of work, after which arrived packets
/// are read and get their time.
const PACKETS_PER_TURN: u32 = 64;

impl Worker<'_> {
    /// Sends trains that are due before `end`, up to a maximum. Returns when to send again.
    pub(super) fn send_due(&mut self, end: Nanos) -> Nanos {
        let again = self.send_trains(end);
        self.ports.flush(&mut self.counts);
        again
    }

    fn send_trains(&mut self, end: Nanos) -> Nanos {
        let train = self.plan.config.effective_train();
        let mut packets = 0;
        while packets < PACKETS_PER_TURN {
            let used_up = self.has_used_up();
            let scheduled = match &mut self.pacing {
                Pacing::Open(open) => {
                    let due = open.next_due();
                    if due > self.now || due >= end {
                        return due;
                    }
                    open.advance();
                    due
                }
                Pacing::Closed(closed) if closed.has_room(u64::from(train)) && !used_up => self.now,
                Pacing::Closed(_) => return Nanos::MAX,
            };
            if self.prepared.is_some() {
                self.send_prepared(scheduled);
                packets += train;
                continue;
            }
            let lane = self.order.next_lane();
            if !self.lanes[lane].is_present() {
                packets += train;
                continue;
            }
            self.counts.due += u64::from(train);
            match (self.plan.config.direction, self.router) {
                (Direction::Down { internal, .. }, Some(router)) => {
                    self.send_train_down(lane, scheduled, train, router, internal);
                }
                _ => self.send_train(lane, scheduled, train),
            }
            packets += train;
        }
        self.now
    }

    /// Sends a train on one tunnel. Packets that its session or socket does not accept are not sent.
    fn send_train(&mut self, lane: usize, scheduled: Nanos, train: u32) {
        let state = &mut self.lanes[lane];
        let Some(address) = state.address else {
            return;
        };
        let size = self.sizes.next_size();
        if self.ports.is_blocked(state.port) {
            return;
        }
        // Two trains of one tunnel in a batch would be merged.
        if state.batch == self.ports.batch() {
            self.ports.flush(&mut self.counts);
        }
        for _ in 0..train {
            let stamp = Stamp {
                tunnel: state.index,
                sequence: state.sequences.next_sequence(),
                time: scheduled,
            };
            self.form.write(size, address, stamp, &mut self.inner);
            let packet = Packet::from_bytes(self.inner.split());
            let outgoing = match state.tunnel.encapsulate(packet) {
                Ok(packet) => Outgoing {
                    packet,
                    is_counted: self.is_counting,
                },
                Err(Some(packet)) => Outgoing {
                    packet,
                    is_counted: false,
                },
                Err(None) => break,
            };
            let to = self.peer.gateway;
            self.ports
                .push(state.port, to, state.from_ip, outgoing, &mut self.counts);
        }
        state.batch = self.ports.batch();
        self.ramp.note_sent(scheduled, train);
        self.note_in_flight(train);
    }

    /// Sends the next pre-encrypted train.
    fn send_prepared(&mut self, scheduled: Nanos) {
        let Some(train) = self.take_prepared(scheduled) else {
            return;
        };
        let count = train.packets.len() as u32;
        let state = &mut self.lanes[train.lane];
        self.counts.due += u64::from(count);
        if self.ports.is_blocked(state.port) {
            return;
        }
        if state.batch == self.ports.batch() {
            self.ports.flush(&mut self.counts);
        }
        for packet in train.packets {
            let outgoing = Outgoing {
                packet,
                is_counted: self.is_counting,
            };
            let to = self.peer.gateway;
            self.ports
                .push(state.port, to, state.from_ip, outgoing, &mut self.counts);
        }
        state.batch = self.ports.batch();
        self.ramp.note_sent(scheduled, count);
        self.note_in_flight(count);
    }

    /// Takes the next pre-encrypted train. Its packets use up their sequence numbers even if they are not sent.
    fn take_prepared(&mut self, scheduled: Nanos) -> Option<PreparedTrain> {
        let train = self.prepared.as_mut()?.next_train(scheduled)?;
        let sequences = &mut self.lanes[train.lane].sequences;
        for _ in 0..train.packets.len() {
            sequences.next_sequence();
        }
        Some(train)
    }

    /// Drops pre-encrypted trains.
    pub(super) fn skip_prepared(&mut self, trains: u64, time: Nanos) {
        for _ in 0..trains {
            if self.take_prepared(time).is_none() {
                return;
            }
        }
    }

    /// Sends a train to a tunnel from this thread's router.
    fn send_train_down(
        &mut self,
        lane: usize,
        scheduled: Nanos,
        train: u32,
        router: usize,
        internal: SocketAddr,
    ) {
        let state = &mut self.lanes[lane];
        let Some(address) = state.address else {
            return;
        };
        let size = self.sizes.next_size();
        if self.ports.is_blocked(router) {
            return;
        }
        for _ in 0..train {
            let stamp = Stamp {
                tunnel: state.index,
                sequence: state.sequences.next_sequence(),
                time: scheduled,
            };
            self.form.write(size, address, stamp, &mut self.inner);
            let outgoing = Outgoing {
                packet: Packet::from_bytes(self.inner.split()),
                is_counted: self.is_counting,
            };
            self.ports
                .push(router, internal, None, outgoing, &mut self.counts);
        }
        self.ramp.note_sent(scheduled, train);
        // Trains for several tunnels would be merged.
        if train > 1 {
            self.ports.flush(&mut self.counts);
        }
        self.note_in_flight(train);
    }

    fn note_in_flight(&mut self, train: u32) {
        if let Pacing::Closed(closed) = &mut self.pacing {
            closed.sent(u64::from(train), self.now);
        }
    }

    /// Queues a handshake message or keepalive. It is dropped while the socket is blocked: the timers repeat what is
    /// needed.
    pub(super) fn send_protocol(&mut self, lane: usize, packet: Packet) {
        let state = &self.lanes[lane];
        if self.ports.is_blocked(state.port) {
            return;
        }
        let outgoing = Outgoing {
            packet,
            is_counted: false,
        };
        let to = self.peer.gateway;
        self.ports
            .push(state.port, to, state.from_ip, outgoing, &mut self.counts);
    }

    /// Counts the packets in flight as lost if the closed loop has stalled.
    pub(super) fn write_off_stalled(&mut self) {
        let Pacing::Closed(closed) = &mut self.pacing else {
            return;
        };
        if closed.is_stalled(self.now) {
            closed.write_off();
            for lane in &mut self.lanes {
                lane.returned_below = lane.sequences.next_to_send();
            }
        }
    }
}

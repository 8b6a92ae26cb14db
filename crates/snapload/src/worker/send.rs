//! Sending what is due, in trains.

use ana_gotatun::packet::Packet;
use udp_shards::{Flush, SendError};

use super::{Worker, new_queue};
use crate::pacing::{Nanos, Pacing};
use crate::report::Counts;
use crate::stamp::Stamp;

/// Packets sent per turn, unless a train is longer: some 60 µs of work, after which replies are
/// read and get their time.
const PACKETS_PER_TURN: u32 = 64;

/// A datagram on its way out.
pub(super) struct Outgoing {
    packet: Packet,
    /// Whether it is one of the packets that count: no handshake message or keepalive, and not of
    /// the warm-up.
    is_counted: bool,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        &self.packet
    }
}

impl Worker<'_> {
    /// Sends trains that are due before `end`, not too many at once. Returns when to send again.
    pub(super) fn send_due(&mut self, end: Nanos) -> Nanos {
        let train = self.plan.config.effective_train();
        let mut packets = 0;
        while packets < PACKETS_PER_TURN {
            let scheduled = match &mut self.pacing {
                Pacing::Open(open) => {
                    let due = open.next_due();
                    if due > self.now || due >= end {
                        return due;
                    }
                    open.advance();
                    due
                }
                Pacing::Closed(closed) if closed.has_room(u64::from(train)) => self.now,
                Pacing::Closed(_) => return Nanos::MAX,
            };
            let lane = self.next_lane;
            self.next_lane = (lane + 1) % self.lanes.len();
            self.counts.due += u64::from(train);
            self.send_train(lane, scheduled, train);
            packets += train;
        }
        self.now
    }

    /// Sends a train on one tunnel. What its session or socket does not take is not sent.
    fn send_train(&mut self, lane: usize, scheduled_ns: Nanos, train: u32) {
        let state = &mut self.lanes[lane];
        if state.blocked.is_some() {
            return;
        }
        for _ in 0..train {
            let sequence = state.sequences.next_sequence();
            let stamp = Stamp {
                tunnel: state.index,
                sequence,
                scheduled_ns,
            };
            self.plan.form.write(&state.headers, stamp, &mut self.inner);
            let outgoing = match state
                .tunnel
                .encapsulate(Packet::from_bytes(self.inner.split()))
            {
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
            // The queue holds a train and more.
            let _ = self.queue.push(self.peer.gateway, None, outgoing);
        }
        if let Pacing::Closed(closed) = &mut self.pacing {
            closed.sent(u64::from(train), self.now);
        }
        self.flush(lane);
    }

    /// Sends a handshake message or keepalive. It is left out while the socket is blocked: the
    /// timers repeat what matters.
    pub(super) fn send_protocol(&mut self, lane: usize, packet: Packet) {
        if self.lanes[lane].blocked.is_none() {
            let outgoing = Outgoing {
                packet,
                is_counted: false,
            };
            let _ = self.queue.push(self.peer.gateway, None, outgoing);
            self.flush(lane);
        }
    }

    /// Sends what is queued on a tunnel's socket; what it does not take stays with the tunnel.
    fn flush(&mut self, lane: usize) {
        let counts = &mut self.counts;
        let flush = self
            .queue
            .flush(&self.lanes[lane].socket, &mut |outgoing, result| {
                count_sent(counts, &outgoing, result);
            });
        if flush == Flush::Blocked {
            let empty = self.spare_queues.pop().unwrap_or_else(new_queue);
            self.lanes[lane].blocked = Some(std::mem::replace(&mut self.queue, empty));
            self.blocked.push(lane);
        }
    }

    /// Tries again what sockets had no room for.
    pub(super) fn flush_blocked(&mut self) {
        let counts = &mut self.counts;
        let lanes = &mut self.lanes;
        let spare_queues = &mut self.spare_queues;
        self.blocked.retain(|&lane| {
            let state = &mut lanes[lane];
            let Some(mut queue) = state.blocked.take() else {
                return false;
            };
            let flush = queue.flush(&state.socket, &mut |outgoing, result| {
                count_sent(counts, &outgoing, result);
            });
            match flush {
                Flush::Blocked => state.blocked = Some(queue),
                Flush::Empty => spare_queues.push(queue),
            }
            flush == Flush::Blocked
        });
    }

    /// A closed loop that stalled starts anew: what is in flight is lost.
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

fn count_sent(counts: &mut Counts, outgoing: &Outgoing, result: Result<(), SendError>) {
    match result {
        _ if !outgoing.is_counted => {}
        Ok(()) => counts.sent += 1,
        Err(_) => counts.send_errors += 1,
    }
}

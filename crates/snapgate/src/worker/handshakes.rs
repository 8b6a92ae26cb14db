//! Handshake messages and their share of a worker's time.
//!
//! Answering an initiation costs as much as some 150 data messages (`scripts/bench.sh packet_path`). So
//! handshake messages wait in short queues, and a turn spends no more time on them than it spent on
//! everything before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use snaptun::Endpoint;

use crate::drop_reason::{DropReason, QueueLoss};
use crate::worker::pipeline::Pipeline;

/// The longest that a turn works on handshakes.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_micros(500);

/// The least time that a turn works on handshakes: one is answered even if data never ends.
const HANDSHAKE_TIME_MIN: Duration = Duration::from_micros(50);

/// Handshake messages that may wait in each queue: what a worker answers in some 50 ms. With kernel
/// dispatch more stay in the handshake socket's buffer.
const WAITING_HANDSHAKES: usize = 256;

/// Below this many waiting messages the handshake sockets are read again.
const REFILL_HANDSHAKES: usize = 16;

/// How a handshake message arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// As a datagram of its own.
    Single,
    /// Among others in a train.
    InTrain,
}

/// A handshake message and where it came from.
struct WaitingHandshake {
    from: Endpoint,
    datagram: Packet,
}

/// Handshake messages that wait for their share of the worker's time.
///
/// Trains get around the handshake sockets, whose buffers hold back a flood. So messages from trains
/// have a queue of their own, and the two queues take turns: neither kind of flood takes more than
/// half of the time from the other kind of message.
#[derive(Default)]
pub(super) struct WaitingHandshakes {
    single: VecDeque<WaitingHandshake>,
    in_train: VecDeque<WaitingHandshake>,
    /// The last message that was taken came from a train.
    last_was_in_train: bool,
}

impl WaitingHandshakes {
    pub(super) fn len(&self) -> usize {
        self.single.len() + self.in_train.len()
    }

    /// Adds a message; false when its queue is full.
    fn push(&mut self, arrival: Arrival, message: impl FnOnce() -> WaitingHandshake) -> bool {
        let queue = match arrival {
            Arrival::Single => &mut self.single,
            Arrival::InTrain => &mut self.in_train,
        };
        let has_room = queue.len() < WAITING_HANDSHAKES;
        if has_room {
            queue.push_back(message());
        }
        has_room
    }

    /// Takes the next message, from each queue in turn.
    fn pop(&mut self) -> Option<WaitingHandshake> {
        self.last_was_in_train =
            !self.in_train.is_empty() && (!self.last_was_in_train || self.single.is_empty());
        if self.last_was_in_train {
            self.in_train.pop_front()
        } else {
            self.single.pop_front()
        }
    }
}

impl Pipeline {
    /// Queues a handshake message until [`Pipeline::handle_handshakes`] gets to it.
    ///
    /// Anyone can forge handshake messages of anyone's address, so what does not pass the checks that
    /// cost less than a microsecond takes no place in the queue.
    pub(super) fn receive_handshake(&mut self, from: Endpoint, datagram: &[u8], arrival: Arrival) {
        if let Err(reason) = self.shard.screen_handshake(from.remote, datagram) {
            return self.drop_packet(DropReason::Tunnel(reason));
        }
        // A copy, because a slice would keep its whole receive block from being used again.
        let queued = self.handshakes.push(arrival, || WaitingHandshake {
            from,
            datagram: Packet::copy_from(datagram),
        });
        if !queued {
            self.drop_packet(DropReason::Queue(QueueLoss::HandshakesFull));
        }
    }

    /// Whether more handshake messages should be read from the handshake sockets.
    pub(crate) fn wants_handshakes(&self) -> bool {
        self.handshakes.single.len() < REFILL_HANDSHAKES
    }

    /// Whether handshake messages wait.
    pub(crate) fn has_handshakes(&self) -> bool {
        self.handshakes.len() > 0
    }

    /// Handles waiting handshake messages until none is left or their time is up: as much as the
    /// turn, which began at `turn_start`, took so far.
    pub(crate) fn handle_handshakes(&mut self, turn_start: Instant, mut now: Instant) {
        let time = now.saturating_duration_since(turn_start);
        let deadline = now + time.clamp(HANDSHAKE_TIME_MIN, HANDSHAKE_TIME_MAX);
        while now < deadline {
            let Some(WaitingHandshake { from, datagram }) = self.handshakes.pop() else {
                return;
            };
            self.handle_incoming(now, from, datagram);
            now = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that its bytes tell apart.
    fn message(number: u8) -> WaitingHandshake {
        WaitingHandshake {
            from: Endpoint {
                remote: ([127, 0, 0, 1], 1).into(),
                via: snaptun::Via::default(),
            },
            datagram: Packet::copy_from(&[number][..]),
        }
    }

    fn pop_all(queue: &mut WaitingHandshakes) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop().map(|message| message.datagram[0])).collect()
    }

    #[test]
    fn single_messages_and_those_from_trains_take_turns() {
        let mut queue = WaitingHandshakes::default();
        for number in 0..4 {
            assert!(queue.push(Arrival::InTrain, || message(10 + number)));
        }
        for number in 0..2 {
            assert!(queue.push(Arrival::Single, || message(20 + number)));
        }
        assert_eq!(pop_all(&mut queue), [10, 20, 11, 21, 12, 13]);

        assert!(queue.push(Arrival::Single, || message(1)));
        assert!(queue.push(Arrival::Single, || message(2)));
        assert_eq!(pop_all(&mut queue), [1, 2]);
    }

    #[test]
    fn a_full_queue_of_messages_from_trains_has_no_effect_on_single_ones() {
        let mut queue = WaitingHandshakes::default();
        let taken = (0..2 * WAITING_HANDSHAKES)
            .filter(|_| queue.push(Arrival::InTrain, || message(1)))
            .count();
        assert_eq!(taken, WAITING_HANDSHAKES);
        assert!(queue.push(Arrival::Single, || message(2)));
        assert_eq!(queue.pop().map(|message| message.datagram[0]), Some(1));
        assert_eq!(queue.pop().map(|message| message.datagram[0]), Some(2));
    }
}

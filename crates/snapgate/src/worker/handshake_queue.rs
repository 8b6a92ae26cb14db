//! Queue of handshake messages that wait for their share of the worker's time.

use std::collections::VecDeque;

use ana_gotatun::packet::Packet;
use snaptun::Endpoint;

/// Maximum length of each queue: what a worker answers in about 50 ms. With kernel dispatch further messages stay in
/// the handshake socket's buffer.
const WAITING_HANDSHAKES: usize = 256;

/// Below this number of waiting messages the handshake sockets are read again.
const REFILL_HANDSHAKES: usize = 16;

/// How a handshake message arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// As a single datagram.
    Single,
    /// In a train with other datagrams.
    InTrain,
}

/// A handshake message and its source.
pub(super) struct WaitingHandshake {
    pub(super) from: Endpoint,
    pub(super) datagram: Packet,
}

/// Handshake messages that wait.
///
/// Trains bypass the handshake sockets, whose buffers hold back a flood. Messages from trains therefore have a separate
/// queue, and the two queues alternate: a flood in one of them leaves half of the time to the other.
#[derive(Default)]
pub(super) struct HandshakeQueue {
    single: VecDeque<WaitingHandshake>,
    in_train: VecDeque<WaitingHandshake>,
    /// True if the message taken last came from a train.
    last_was_in_train: bool,
}

impl HandshakeQueue {
    /// Returns true if more messages should be read from the handshake sockets.
    pub(super) fn wants_more(&self) -> bool {
        self.single.len() < REFILL_HANDSHAKES
    }

    pub(super) fn len(&self) -> usize {
        self.single.len() + self.in_train.len()
    }

    /// Adds a message. Returns false if its queue is full.
    pub(super) fn push(
        &mut self,
        arrival: Arrival,
        message: impl FnOnce() -> WaitingHandshake,
    ) -> bool {
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

    /// Takes the next message, alternating between the queues.
    pub(super) fn pop(&mut self) -> Option<WaitingHandshake> {
        self.last_was_in_train =
            !self.in_train.is_empty() && (!self.last_was_in_train || self.single.is_empty());
        if self.last_was_in_train {
            self.in_train.pop_front()
        } else {
            self.single.pop_front()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that consists of `number`.
    fn message(number: u8) -> WaitingHandshake {
        WaitingHandshake {
            from: Endpoint {
                remote: ([127, 0, 0, 1], 1).into(),
                via: snaptun::Via::default(),
            },
            datagram: Packet::copy_from(&[number][..]),
        }
    }

    fn pop_all(queue: &mut HandshakeQueue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop().map(|message| message.datagram[0])).collect()
    }

    #[test]
    fn the_two_queues_alternate() {
        let mut queue = HandshakeQueue::default();
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
    fn a_full_train_queue_does_not_affect_single_messages() {
        let mut queue = HandshakeQueue::default();
        let taken = (0..2 * WAITING_HANDSHAKES)
            .filter(|_| queue.push(Arrival::InTrain, || message(1)))
            .count();
        assert_eq!(taken, WAITING_HANDSHAKES);
        assert!(queue.push(Arrival::Single, || message(2)));
        assert_eq!(queue.pop().map(|message| message.datagram[0]), Some(1));
        assert_eq!(queue.pop().map(|message| message.datagram[0]), Some(2));
    }
}

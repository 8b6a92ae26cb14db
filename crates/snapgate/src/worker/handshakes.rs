//! Handshake messages and their share of a worker's time.
//!
//! Answering an initiation costs as much as some 150 data messages (`cargo bench -p benches`). So
//! handshake messages wait in a short queue of their own, and a turn spends no more time on them
//! than it spent on everything before.

use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use snaptun::Endpoint;

use crate::drop_reason::{DropReason, QueueLoss};
use crate::worker::pipeline::Pipeline;

/// The longest that a turn works on handshakes.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_micros(500);

/// What a turn works on handshakes in any case: one is answered even if data never ends.
const HANDSHAKE_TIME_MIN: Duration = Duration::from_micros(50);

/// Handshake messages taken from one train. A train comes from one address, where a client has one
/// handshake in progress: an initiation, and now and then another that was delayed. The rest is a
/// flood, which would get around the handshake sockets behind a data message.
pub(super) const HANDSHAKES_PER_TRAIN: usize = 2;

/// Handshake messages that may wait in a worker: what it can answer in some 50 ms. In kernel
/// dispatch more stay in the handshake socket's buffer.
const WAITING_HANDSHAKES: usize = 256;

/// Below this many waiting messages the handshake sockets are read again.
const REFILL_HANDSHAKES: usize = 16;

/// The message type of transport data (WireGuard whitepaper, section 5.4.6).
const MESSAGE_TYPE_DATA: u8 = 4;

/// A handshake message and where it came from.
pub(crate) struct WaitingHandshake {
    from: Endpoint,
    datagram: Packet,
}

/// Whether `datagram` belongs to a handshake: message types 1 to 3.
pub(super) fn is_handshake(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(1..MESSAGE_TYPE_DATA))
}

impl Pipeline {
    /// Queues a handshake message until [`Pipeline::handle_handshakes`] gets to it.
    pub(super) fn wait_for_handshake(&mut self, from: Endpoint, datagram: &[u8]) {
        if self.handshakes.len() < WAITING_HANDSHAKES {
            // A copy, because a slice would keep its whole receive block from being used again.
            let datagram = Packet::copy_from(datagram);
            self.handshakes
                .push_back(WaitingHandshake { from, datagram });
        } else {
            self.drop_packet(DropReason::Queue(QueueLoss::HandshakesFull));
        }
    }

    /// Whether more handshake messages should be read from the sockets.
    pub(crate) fn wants_handshakes(&self) -> bool {
        self.handshakes.len() < REFILL_HANDSHAKES
    }

    /// Whether handshake messages wait.
    pub(crate) fn has_handshakes(&self) -> bool {
        !self.handshakes.is_empty()
    }

    /// Handles waiting handshake messages until none is left or their time is up: as much as the
    /// turn, which began at `turn_start`, took so far.
    pub(crate) fn handle_handshakes(&mut self, turn_start: Instant, mut now: Instant) {
        let time = now.saturating_duration_since(turn_start);
        let deadline = now + time.clamp(HANDSHAKE_TIME_MIN, HANDSHAKE_TIME_MAX);
        while now < deadline {
            let Some(WaitingHandshake { from, datagram }) = self.handshakes.pop_front() else {
                return;
            };
            self.handle_incoming(now, from, datagram);
            now = Instant::now();
        }
    }
}

//! Handshake messages and their share of a worker's time.
//!
//! Answering an initiation costs as much as some 150 data messages (`scripts/bench.sh packet_path`). So
//! handshake messages wait in short queues, and a turn spends no more time on them than it spent on
//! everything before.

use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use snaptun::Endpoint;
use snaptun::protocol::MessageKind;

use crate::drop_reason::{DropReason, QueueLoss};
use crate::worker::handshake_queue::{Arrival, WaitingHandshake};
use crate::worker::pipeline::Pipeline;

/// The longest that a turn works on handshakes.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_micros(500);

/// The least time that a turn works on handshakes: one is answered even if data never ends.
const HANDSHAKE_TIME_MIN: Duration = Duration::from_micros(50);

impl Pipeline {
    /// Queues a handshake message until [`Pipeline::handle_handshakes`] gets to it.
    ///
    /// Anyone can forge handshake messages of anyone's address, so what does not pass the checks that
    /// cost less than a microsecond takes no place in the queue.
    pub(super) fn receive_handshake(
        &mut self,
        kind: MessageKind,
        from: Endpoint,
        datagram: &[u8],
        arrival: Arrival,
    ) {
        if let Err(reason) = self.shard.screen_handshake(kind, from.remote, datagram) {
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
        self.handshakes.wants_more()
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

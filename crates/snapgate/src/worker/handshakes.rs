//! Handshake messages and their share of a worker's time.
//!
//! Answering an initiation costs as much as about 150 data messages (`scripts/bench.sh packet_path`). So handshake
//! messages wait in short queues, and a turn spends no more time on them than on its earlier steps.

use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use snaptun::Endpoint;
use snaptun::protocol::MessageKind;

use crate::drop_reason::{DropReason, QueueLoss};
use crate::worker::handshake_queue::{Arrival, WaitingHandshake};
use crate::worker::pipeline::Pipeline;

/// Maximum time for handshakes in a turn.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_micros(500);

/// Minimum time for handshakes in a turn, so that one is answered even under constant data.
const HANDSHAKE_TIME_MIN: Duration = Duration::from_micros(50);

impl Pipeline {
    /// Queues a handshake message for [`Pipeline::handle_handshakes`].
    ///
    /// Handshake messages can be forged with any source address, so a message takes a place in the queue only after the
    /// checks that cost less than a microsecond.
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
        // A copy: a slice would keep the whole receive block from being reused.
        let queued = self.handshakes.push(arrival, || WaitingHandshake {
            from,
            datagram: Packet::copy_from(datagram),
        });
        if !queued {
            self.drop_packet(DropReason::Queue(QueueLoss::HandshakesFull));
        }
    }

    /// Returns true if more handshake messages should be read from the handshake sockets.
    pub(crate) fn wants_handshakes(&self) -> bool {
        self.handshakes.wants_more()
    }

    /// Returns true if handshake messages are waiting.
    pub(crate) fn has_handshakes(&self) -> bool {
        self.handshakes.len() > 0
    }

    /// Handles waiting handshake messages, for as long as the turn, which began at `turn_start`, took so far.
    pub(crate) fn handle_handshakes(&mut self, turn_start: Instant, mut now: Instant) {
        let time = now.saturating_duration_since(turn_start);
        let deadline = now + time.clamp(HANDSHAKE_TIME_MIN, HANDSHAKE_TIME_MAX);
        while now < deadline {
            let Some(WaitingHandshake { from, datagram }) = self.handshakes.pop() else {
                return;
            };
            self.handle_incoming(now, from, datagram);
            now = self.clock.now();
        }
    }
}

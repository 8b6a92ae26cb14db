//! Counts of a shard's traffic from outside, compared with the shard's counters.

use snaptun::{Consumed, Payload, SnapTunServer, Transmit};

use crate::registry::Registry;
use crate::violation::Violation;

/// Traffic of a shard since its creation.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Packets for tunnels that were not dropped at once.
    accepted: u64,
    /// Datagrams with one of these packets.
    forwarded: u64,
    /// Datagrams of the protocol.
    protocol: u64,
    answered_new: u64,
    answered_known: u64,
    cookie_replies: u64,
    completed: u64,
}

impl Ledger {
    pub(crate) fn consume(&mut self, consumed: Consumed) {
        match consumed {
            Consumed::HandshakeAnswered { new_tunnel: true } => self.answered_new += 1,
            Consumed::HandshakeAnswered { new_tunnel: false } => self.answered_known += 1,
            Consumed::CookieReplySent => self.cookie_replies += 1,
            Consumed::HandshakeCompleted => self.completed += 1,
            Consumed::CookieReceived | Consumed::Keepalive => {}
        }
    }

    /// Records a packet for a tunnel that was encapsulated or is waiting.
    pub(crate) fn accept(&mut self) {
        self.accepted += 1;
    }

    pub(crate) fn send(&mut self, transmit: &Transmit) {
        match transmit.payload {
            Payload::Forwarded => self.forwarded += 1,
            Payload::Protocol => self.protocol += 1,
        }
    }

    /// Compares all counts.
    pub(crate) fn check(
        &self,
        shard: usize,
        server: &SnapTunServer<Registry>,
    ) -> Result<(), Violation> {
        let counters = server.counters();
        let discarded = counters.waiting_discarded_expired
            + counters.waiting_discarded_revoked
            + counters.waiting_discarded_displaced;
        let removed = counters.tunnels_expired
            + counters.tunnels_revoked
            + counters.tunnels_replaced
            + counters.tunnels_evicted
            + counters.tunnels_moved
            + counters.tunnels_reopened;
        let comparisons = [
            (
                "packets for tunnels: sent, waiting or discarded",
                self.accepted,
                self.forwarded + server.waiting_packets() as u64 + discarded,
            ),
            (
                "protocol messages by cause",
                self.protocol,
                // Each handshake completed by us is followed by the keepalive that confirms it.
                counters.handshakes_answered_new
                    + counters.handshakes_answered_known
                    + counters.cookie_replies_sent()
                    + counters.handshakes_completed
                    + counters.handshakes_initiated
                    + counters.keepalives_sent,
            ),
            (
                "handshakes answered in new tunnels",
                self.answered_new,
                counters.handshakes_answered_new,
            ),
            (
                "handshakes answered in known tunnels",
                self.answered_known,
                counters.handshakes_answered_known,
            ),
            (
                "handshakes completed",
                self.completed,
                counters.handshakes_completed,
            ),
            (
                "cookie replies",
                self.cookie_replies,
                counters.cookie_replies_sent(),
            ),
            (
                "tunnels created",
                self.answered_new + counters.restart_handshakes_started,
                counters.tunnels_created,
            ),
            (
                "tunnels",
                server.tunnel_count() as u64 + removed,
                counters.tunnels_created,
            ),
        ];
        for (what, seen, counted) in comparisons {
            if seen != counted {
                return Err(Violation::Unbalanced {
                    shard,
                    what,
                    seen,
                    counted,
                });
            }
        }
        Ok(())
    }
}

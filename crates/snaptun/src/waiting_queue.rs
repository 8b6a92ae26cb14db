//! Packets that wait in a tunnel for a session.

use std::collections::VecDeque;

use ana_gotatun::packet::Packet;

use crate::config::ShardConfig;

/// The packets that wait in one tunnel. A tunnel waits once in a long while, so a tunnel that does not has 8
/// bytes for it.
#[derive(Default)]
pub(crate) struct WaitingQueue(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// Oldest first, and never none.
    packets: VecDeque<Packet>,
    bytes: usize,
}

/// What waits in all tunnels of a shard.
#[derive(Default)]
pub(crate) struct WaitingTotals {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

impl WaitingQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes the packet in, or gives it back when a limit is reached.
    ///
    /// What waits is a copy: a received packet is often a slice of a train's buffer, and would keep all
    /// of its 64 KiB, so that the limits in bytes would mean nothing.
    pub(crate) fn push(
        &mut self,
        packet: Packet,
        limits: &ShardConfig,
        totals: &mut WaitingTotals,
    ) -> Result<(), Packet> {
        let bytes = packet.len();
        let (waiting_packets, waiting_bytes) = match &self.0 {
            Some(waiting) => (waiting.packets.len(), waiting.bytes),
            None => (0, 0),
        };
        if waiting_packets >= limits.waiting_packets_per_tunnel
            || waiting_bytes + bytes > limits.waiting_bytes_per_tunnel
            || totals.bytes + bytes > limits.waiting_bytes_per_shard
        {
            return Err(packet);
        }
        let waiting = self.0.get_or_insert_default();
        waiting.packets.push_back(Packet::copy_from(&packet));
        waiting.bytes += bytes;
        totals.packets += 1;
        totals.bytes += bytes;
        Ok(())
    }

    pub(crate) fn pop(&mut self, totals: &mut WaitingTotals) -> Option<Packet> {
        let waiting = self.0.as_mut()?;
        let packet = waiting.packets.pop_front()?;
        waiting.bytes -= packet.len();
        if waiting.packets.is_empty() {
            self.0 = None;
        }
        totals.packets -= 1;
        totals.bytes -= packet.len();
        Some(packet)
    }

    /// Puts back what [`pop`](Self::pop) returned.
    pub(crate) fn unpop(&mut self, packet: Packet, totals: &mut WaitingTotals) {
        totals.packets += 1;
        totals.bytes += packet.len();
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += packet.len();
        waiting.packets.push_front(packet);
    }

    /// Drops all that waits and returns how many packets that were.
    pub(crate) fn discard(&mut self, totals: &mut WaitingTotals) -> u64 {
        let mut discarded = 0;
        while self.pop(totals).is_some() {
            discarded += 1;
        }
        discarded
    }
}

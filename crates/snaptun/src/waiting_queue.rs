//! Packets that wait in a tunnel for a session.

use std::collections::VecDeque;

use ana_gotatun::packet::Packet;

use crate::config::ShardConfig;

/// The packets that wait in one tunnel, oldest first.
#[derive(Default)]
pub(crate) struct WaitingQueue {
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
        self.packets.is_empty()
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
        if self.packets.len() >= limits.waiting_packets_per_tunnel
            || self.bytes + bytes > limits.waiting_bytes_per_tunnel
            || totals.bytes + bytes > limits.waiting_bytes_per_shard
        {
            return Err(packet);
        }
        self.packets.push_back(Packet::copy_from(&packet));
        self.bytes += bytes;
        totals.packets += 1;
        totals.bytes += bytes;
        Ok(())
    }

    pub(crate) fn pop(&mut self, totals: &mut WaitingTotals) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.len();
        totals.packets -= 1;
        totals.bytes -= packet.len();
        if self.packets.is_empty() {
            // A tunnel waits once in a long while; its memory is better used elsewhere.
            self.packets = VecDeque::new();
        }
        Some(packet)
    }

    /// Puts back what [`pop`](Self::pop) returned.
    pub(crate) fn unpop(&mut self, packet: Packet, totals: &mut WaitingTotals) {
        self.bytes += packet.len();
        totals.packets += 1;
        totals.bytes += packet.len();
        self.packets.push_front(packet);
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

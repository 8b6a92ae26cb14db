//! Packets that wait in a tunnel for a session.
//!
//! Anyone can send packets to a tunnel, so the waiting bytes of all tunnels of a shard are bounded. To keep one sender
//! from filling this memory, each identity has a limit, and so have all half-open tunnels together: those cost their
//! client only a handshake, and honest ones are half-open for a round trip.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use ana_gotatun::packet::Packet;

use crate::config::ShardConfig;

/// Packets that wait in one tunnel. Tunnels rarely have any; an empty queue takes 8 bytes.
#[derive(Default)]
pub(crate) struct WaitingQueue(Option<Box<Waiting>>);

struct Waiting {
    /// Oldest first, never empty.
    packets: VecDeque<Packet>,
    bytes: usize,
    owner: Owner,
}

/// Owner of waiting packets, whose limits they count against.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) identity: [u8; 32],
    /// State of the tunnel when its first waiting packet arrived: the queue is emptied when the tunnel is first used.
    pub(crate) half_open: bool,
}

/// Totals of the waiting packets in all tunnels of a shard.
#[derive(Default)]
pub(crate) struct WaitingTotals {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
    half_open_bytes: usize,
    /// Waiting bytes of each identity with waiting packets.
    bytes_by_identity: HashMap<[u8; 32], usize, ahash::RandomState>,
}

impl WaitingQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Queues a copy of the packet, or returns the packet if a limit is reached.
    ///
    /// A received packet is often a slice of a train's buffer and would keep all of its 64 KiB allocated, unseen by the
    /// limits in bytes.
    pub(crate) fn push(
        &mut self,
        packet: Packet,
        owner: Owner,
        limits: &ShardConfig,
        totals: &mut WaitingTotals,
    ) -> Result<(), Packet> {
        let bytes = packet.len();
        let (waiting_packets, waiting_bytes, owner) = match &self.0 {
            Some(waiting) => (waiting.packets.len(), waiting.bytes, waiting.owner),
            None => (0, 0, owner),
        };
        if waiting_packets >= limits.waiting_packets_per_tunnel
            || waiting_bytes + bytes > limits.waiting_bytes_per_tunnel
            || !totals.have_room(&owner, bytes, limits)
        {
            return Err(packet);
        }
        let waiting = self.waiting(owner);
        waiting.packets.push_back(Packet::copy_from(&packet));
        waiting.bytes += bytes;
        totals.add(&owner, bytes);
        Ok(())
    }

    pub(crate) fn pop(&mut self, totals: &mut WaitingTotals) -> Option<Packet> {
        let waiting = self.0.as_mut()?;
        let packet = waiting.packets.pop_front()?;
        waiting.bytes -= packet.len();
        totals.subtract(&waiting.owner, packet.len());
        if waiting.packets.is_empty() {
            self.0 = None;
        }
        Some(packet)
    }

    /// Puts back a packet from [`pop`](Self::pop).
    pub(crate) fn unpop(&mut self, packet: Packet, owner: Owner, totals: &mut WaitingTotals) {
        let waiting = self.waiting(owner);
        totals.add(&waiting.owner, packet.len());
        waiting.bytes += packet.len();
        waiting.packets.push_front(packet);
    }

    /// Drops all waiting packets and returns their number.
    pub(crate) fn discard(&mut self, totals: &mut WaitingTotals) -> u64 {
        let mut discarded = 0;
        while self.pop(totals).is_some() {
            discarded += 1;
        }
        discarded
    }

    fn waiting(&mut self, owner: Owner) -> &mut Waiting {
        self.0.get_or_insert_with(|| {
            Box::new(Waiting {
                packets: VecDeque::new(),
                bytes: 0,
                owner,
            })
        })
    }
}

impl WaitingTotals {
    fn have_room(&self, owner: &Owner, bytes: usize, limits: &ShardConfig) -> bool {
        let of_identity = self.bytes_by_identity.get(&owner.identity);
        self.bytes + bytes <= limits.waiting_bytes_per_shard
            && of_identity.unwrap_or(&0) + bytes <= limits.waiting_bytes_per_identity
            && (!owner.half_open || self.half_open_bytes + bytes <= limits.waiting_bytes_half_open)
    }

    fn add(&mut self, owner: &Owner, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes;
        self.half_open_bytes += if owner.half_open { bytes } else { 0 };
        *self.bytes_by_identity.entry(owner.identity).or_default() += bytes;
    }

    fn subtract(&mut self, owner: &Owner, bytes: usize) {
        self.packets -= 1;
        self.bytes -= bytes;
        self.half_open_bytes -= if owner.half_open { bytes } else { 0 };
        if let Entry::Occupied(mut of_identity) = self.bytes_by_identity.entry(owner.identity) {
            *of_identity.get_mut() -= bytes;
            if *of_identity.get() == 0 {
                of_identity.remove();
            }
        }
    }

    /// Returns the number of identities with waiting packets.
    #[cfg(test)]
    fn identities(&self) -> usize {
        self.bytes_by_identity.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(identity: u8, half_open: bool) -> Owner {
        Owner {
            identity: [identity; 32],
            half_open,
        }
    }

    #[test]
    fn totals_return_to_zero_when_the_queue_is_empty() {
        let limits = ShardConfig::default();
        let mut totals = WaitingTotals::default();
        let mut queue = WaitingQueue::default();
        for _ in 0..3 {
            let packet = Packet::copy_from(&[1_u8; 100][..]);
            assert!(
                queue
                    .push(packet, owner(1, true), &limits, &mut totals)
                    .is_ok()
            );
        }
        assert_eq!((totals.half_open_bytes, totals.identities()), (300, 1));
        // The tunnel was used meanwhile, and each packet, including the last, is put back once.
        for left in [300, 200, 100] {
            let packet = queue.pop(&mut totals).expect("a packet");
            queue.unpop(packet, owner(1, false), &mut totals);
            assert_eq!(totals.bytes, left);
            queue.pop(&mut totals);
        }
        assert!(queue.is_empty());
        let totals = (totals.bytes, totals.half_open_bytes, totals.identities());
        assert_eq!(totals, (0, 0, 0));
    }
}

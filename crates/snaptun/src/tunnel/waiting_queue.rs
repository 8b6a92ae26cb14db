//! Packets that wait in a tunnel for a session.
//!
//! What waits in all tunnels of a shard together is bounded, and anybody can send packets to a tunnel. So that
//! nobody fills this memory alone, one identity has a share of it, and so have the half-open tunnels together:
//! these cost their client no more than a handshake, and an honest one is half-open for a round trip.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use ana_gotatun::packet::Packet;

use crate::config::ShardConfig;

/// The packets that wait in one tunnel. A tunnel waits once in a long while, so a tunnel that does not has 8
/// bytes for it.
#[derive(Default)]
pub(crate) struct WaitingQueue(Option<Box<Waiting>>);

struct Waiting {
    /// Oldest first, and never none.
    packets: VecDeque<Packet>,
    bytes: usize,
    owner: Owner,
}

/// Whose share of the memory a tunnel's packets use.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) identity: [u8; 32],
    /// The tunnel is half-open. Where packets wait already it is what it was when the first came: the queue is
    /// emptied when the tunnel is first used.
    pub(crate) half_open: bool,
}

/// What waits in all tunnels of a shard.
#[derive(Default)]
pub(crate) struct WaitingTotals {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
    half_open_bytes: usize,
    /// Bytes of each identity for which packets wait.
    bytes_by_identity: HashMap<[u8; 32], usize, ahash::RandomState>,
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

    /// Puts back what [`pop`](Self::pop) returned.
    pub(crate) fn unpop(&mut self, packet: Packet, owner: Owner, totals: &mut WaitingTotals) {
        let waiting = self.waiting(owner);
        totals.add(&waiting.owner, packet.len());
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

    /// Number of identities for which packets wait.
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
    fn totals_are_zero_again_when_nothing_waits_however_it_left() {
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
        // The tunnel was used meanwhile.
        // The tunnel was used meanwhile, and one packet has to go back, the last of all too.
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

//! Counts of a shard's tunnels by identity and by use, for the limits.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use crate::tunnel::Tunnel;
use crate::tunnel_table::{Slot, TunnelTable};

/// Minimum length of the order of half-open tunnels at which outdated entries are removed.
const ORDER_LEN_MIN: usize = 128;

/// The tunnels by identity, and the half-open ones.
#[derive(Default)]
pub(crate) struct Census {
    by_identity: HashMap<[u8; 32], SmallVec<[Slot; 2]>, ahash::RandomState>,
    /// Half-open tunnels, oldest first, with their numbers. Entries of tunnels that were used since, or are gone, are
    /// removed lazily.
    half_open_order: VecDeque<(Slot, u64)>,
    half_open: usize,
}

impl Census {
    /// Returns the number of half-open tunnels: not yet used by their peer.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open
    }

    pub(crate) fn tunnels_of(&self, identity: &[u8; 32]) -> &[Slot] {
        self.by_identity
            .get(identity)
            .map_or(&[], SmallVec::as_slice)
    }

    /// Adds a half-open tunnel. `half_open_max` is the limit of half-open tunnels.
    pub(crate) fn add<S>(&mut self, slot: Slot, tunnels: &TunnelTable<S>, half_open_max: usize) {
        let Some(tunnel) = tunnels.get(slot) else {
            return;
        };
        let own = self.by_identity.entry(*tunnel.identity()).or_default();
        own.push(slot);
        self.half_open_order.push_back((slot, tunnel.number()));
        self.half_open += 1;
        if self.half_open_order.len() > ORDER_LEN_MIN.max(2 * half_open_max) {
            // At least half of the entries are removed, so the cost per added tunnel is constant.
            self.half_open_order
                .retain(|(slot, number)| is_half_open(tunnels, *slot, *number));
        }
    }

    /// Records the first use of a tunnel by its peer.
    pub(crate) fn confirm(&mut self) {
        self.half_open -= 1;
    }

    pub(crate) fn remove<S>(&mut self, slot: Slot, tunnel: &Tunnel<S>) {
        self.half_open -= usize::from(!tunnel.is_in_use());
        let Some(own) = self.by_identity.get_mut(tunnel.identity()) else {
            return;
        };
        own.retain(|other| *other != slot);
        if own.is_empty() {
            self.by_identity.remove(tunnel.identity());
        }
    }

    /// Returns the oldest half-open tunnel. Honest clients use a tunnel as soon as it is answered, within a round trip.
    pub(crate) fn oldest_half_open<S>(&mut self, tunnels: &TunnelTable<S>) -> Option<Slot> {
        while let Some((slot, number)) = self.half_open_order.front().copied() {
            if is_half_open(tunnels, slot, number) {
                return Some(slot);
            }
            self.half_open_order.pop_front();
        }
        None
    }
}

/// Returns true if the tunnel with this number is still in the slot, and half-open.
fn is_half_open<S>(tunnels: &TunnelTable<S>, slot: Slot, number: u64) -> bool {
    let tunnel = tunnels.get(slot);
    tunnel.is_some_and(|tunnel| tunnel.number() == number && !tunnel.is_in_use())
}

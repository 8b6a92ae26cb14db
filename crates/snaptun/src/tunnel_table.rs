//! The tunnels of a shard, by remote address.

use std::collections::HashMap;
use std::net::SocketAddr;

use slab::Slab;

use crate::tunnel::Tunnel;

/// The place of a tunnel in the table. Removing the tunnel frees it for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) usize);

/// Finding a tunnel hashes its address once; everything after that goes by [`Slot`].
pub(crate) struct TunnelTable<S> {
    slots_by_remote: HashMap<SocketAddr, Slot, ahash::RandomState>,
    /// Boxed, because a tunnel has 19 KB: `Tunn` alone is 18,992 bytes with `ring`, of which the receive
    /// windows of its eight sessions are 8,320. A slab of the tunnels themselves copies all of them
    /// whenever it grows, 2 GB between two packets at 100,000 tunnels, and never gives memory back; a
    /// slab of chunks avoids only the first. The price is one more pointer to follow.
    tunnels: Slab<Box<Tunnel<S>>>,
    /// One more than the highest slot ever used.
    slots: usize,
}

impl<S> TunnelTable<S> {
    pub(crate) fn new() -> Self {
        TunnelTable {
            slots_by_remote: HashMap::default(),
            tunnels: Slab::new(),
            slots: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tunnels.len()
    }

    /// How many slots there are, free ones included. Timers go through them all.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn find(&self, remote: SocketAddr) -> Option<Slot> {
        self.slots_by_remote.get(&remote).copied()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Tunnel<S>> {
        self.tunnels.get_mut(slot.0).map(Box::as_mut)
    }

    /// Takes in a tunnel for an address that has none.
    pub(crate) fn insert(&mut self, tunnel: Tunnel<S>) {
        let remote = tunnel.endpoint().remote;
        let slot = Slot(self.tunnels.insert(Box::new(tunnel)));
        self.slots = self.slots.max(slot.0 + 1);
        let earlier = self.slots_by_remote.insert(remote, slot);
        debug_assert!(earlier.is_none(), "one tunnel per remote address");
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<Tunnel<S>>> {
        let tunnel = self.tunnels.try_remove(slot.0)?;
        self.slots_by_remote.remove(&tunnel.endpoint().remote);
        Some(tunnel)
    }
}

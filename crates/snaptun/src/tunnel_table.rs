//! The tunnels of a shard by remote address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;

use crate::tunnel::Tunnel;

/// Place of a tunnel in the table, reused after the tunnel is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) usize);

/// Tunnels by remote address. A look-up hashes the address once; later accesses use the [`Slot`].
pub(crate) struct TunnelTable<S> {
    slots_by_remote: HashMap<SocketAddr, Slot, ahash::RandomState>,
    /// Boxed because a tunnel has 11 KB: `Tunn` has 10,608 bytes, 8,320 of them for the receive windows of its eight
    /// sessions. A slab of unboxed tunnels copies all of them when it grows, 1 GB between two packets at 100,000
    /// tunnels, and never frees memory; a slab of chunks avoids only the first. The price is one more pointer to
    /// follow.
    tunnels: Slab<Entry<S>>,
    /// One more than the highest slot ever used.
    slots: usize,
}

/// Fields read at every visit of a tunnel, without following its pointer.
struct Entry<S> {
    tunnel: Box<Tunnel<S>>,
    /// Time of the next timer check.
    look_at: Instant,
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

    /// Number of slots, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn find(&self, remote: SocketAddr) -> Option<Slot> {
        self.slots_by_remote.get(&remote).copied()
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Tunnel<S>> {
        self.tunnels.get(slot.0).map(|entry| &*entry.tunnel)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Tunnel<S>> {
        self.tunnels.get_mut(slot.0).map(|entry| &mut *entry.tunnel)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tunnel<S>> {
        self.tunnels.iter().map(|(_, entry)| &*entry.tunnel)
    }

    /// Returns true if a timer check of the tunnel is due.
    pub(crate) fn is_look_due(&self, slot: Slot, now: Instant) -> bool {
        self.tunnels
            .get(slot.0)
            .is_some_and(|entry| now >= entry.look_at)
    }

    /// Schedules the next timer check of the tunnel.
    pub(crate) fn look_again(&mut self, slot: Slot, look_at: Instant) {
        if let Some(entry) = self.tunnels.get_mut(slot.0) {
            entry.look_at = look_at;
        }
    }

    /// Inserts a tunnel for an address without one.
    pub(crate) fn insert(&mut self, now: Instant, tunnel: Box<Tunnel<S>>) -> Slot {
        let remote = tunnel.endpoint().remote;
        let slot = Slot(self.tunnels.insert(Entry {
            tunnel,
            look_at: now,
        }));
        self.slots = self.slots.max(slot.0 + 1);
        let earlier = self.slots_by_remote.insert(remote, slot);
        debug_assert!(earlier.is_none(), "one tunnel per remote address");
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<Tunnel<S>>> {
        let Entry { tunnel, .. } = self.tunnels.try_remove(slot.0)?;
        self.slots_by_remote.remove(&tunnel.endpoint().remote);
        Some(tunnel)
    }
}

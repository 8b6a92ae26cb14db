//! Known clients without a tunnel.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;

use crate::endpoint::Via;

/// The remembered clients by address, and in slots that can be visited a slice at a time.
#[derive(Default)]
pub(crate) struct Remembered {
    slots_by_remote: HashMap<SocketAddr, usize, ahash::RandomState>,
    clients: Slab<Client>,
    /// One more than the highest slot in use since the table was last empty.
    slots: usize,
    lapsed: usize,
}

/// A client that had a tunnel.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    pub(crate) remote: SocketAddr,
    /// Local side of a tunnel of this process; `None` for a client of the previous process.
    pub(crate) via: Option<Via>,
    pub(crate) identity: [u8; 32],
    pub(crate) wait: Wait,
    /// Earliest time of the next handshake.
    pub(crate) not_before: Instant,
    pub(crate) forget_at: Instant,
}

/// What has to happen before the next handshake with a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Data from its address.
    AwaitsData,
    /// The return of its identity's grant.
    Lapsed,
    /// The grant is back, or the tunnel's sessions were ended: room for a tunnel, and the restart rate limit.
    Returned,
}

impl Remembered {
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Number of clients that had a tunnel in this process.
    pub(crate) fn lapsed(&self) -> usize {
        self.lapsed
    }

    /// Number of slots, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn get(&self, slot: usize) -> Option<Client> {
        self.clients.get(slot).copied()
    }

    pub(crate) fn find(&mut self, remote: SocketAddr) -> Option<&mut Client> {
        let slot = self.slots_by_remote.get(&remote)?;
        self.clients.get_mut(*slot)
    }

    /// Inserts a client, replacing one at the same address.
    pub(crate) fn insert(&mut self, client: Client) {
        self.remove(client.remote);
        self.lapsed += usize::from(client.via.is_some());
        let slot = self.clients.insert(client);
        self.slots = self.slots.max(slot + 1);
        self.slots_by_remote.insert(client.remote, slot);
    }

    pub(crate) fn remove(&mut self, remote: SocketAddr) {
        let Some(slot) = self.slots_by_remote.remove(&remote) else {
            return;
        };
        let client = self.clients.remove(slot);
        self.lapsed -= usize::from(client.via.is_some());
        if self.clients.is_empty() {
            // Frees the memory.
            *self = Self::default();
        }
    }
}

//! Clients that are known, and have no tunnel.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;

use crate::endpoint::Via;

/// The clients, by address. They can also be gone through a slice at a time.
#[derive(Default)]
pub(crate) struct Remembered {
    slots_by_remote: HashMap<SocketAddr, usize, ahash::RandomState>,
    clients: Slab<Client>,
    /// One more than the highest slot used since there was no client.
    slots: usize,
    lapsed: usize,
}

/// A client that had a tunnel.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    pub(crate) remote: SocketAddr,
    /// The local side of a tunnel whose grant ended; `None` for one of the previous process.
    pub(crate) via: Option<Via>,
    pub(crate) identity: [u8; 32],
    pub(crate) wait: Wait,
    /// When a handshake may be begun.
    pub(crate) not_before: Instant,
    pub(crate) forget_at: Instant,
}

/// What a client's next handshake waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Data from its address.
    AwaitsData,
    /// Its identity's grant.
    Lapsed,
    /// The grant is back: room, and its turn.
    Returned,
}

impl Remembered {
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// How many of them had a tunnel of this process.
    pub(crate) fn lapsed(&self) -> usize {
        self.lapsed
    }

    /// How many slots there are, free ones included.
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

    /// Takes in a client, in the place of one at the same address.
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
            // Gives the memory back.
            *self = Self::default();
        }
    }
}

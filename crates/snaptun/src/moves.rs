//! Clients that roam: the new tunnel of an identity ends the older ones, if so configured.

use std::fmt;
use std::time::Instant;

use crate::authorization::SnapTunAuthorization;
use crate::server::{Removal, SnapTunServer};
use crate::tunnel::Tunnel;

/// An identity uses a new tunnel: its older ones, at other shards, have no more use.
#[derive(Clone, PartialEq, Eq)]
pub struct Move {
    identity: [u8; 32],
    /// When the new tunnel came into being.
    at: Instant,
}

impl Move {
    /// The peer of this tunnel has used it for the first time.
    pub(crate) fn to<S>(tunnel: &Tunnel<S>) -> Self {
        Move {
            identity: *tunnel.identity(),
            at: tunnel.created_at(),
        }
    }
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Ends the older tunnels of the next identity that uses a new one, and returns what the other shards
    /// are to be told by [`end_older_tunnels`](Self::end_older_tunnels).
    ///
    /// Call it after every batch until there are no more. There are none unless
    /// [`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity) is set. What another shard is
    /// not told leaves an old tunnel there to its timers.
    #[must_use]
    pub fn next_move(&mut self) -> Option<Move> {
        let moved = self.moves.pop_front()?;
        self.end_older_tunnels(&moved);
        Some(moved)
    }

    /// Ends the tunnels of an identity that are older than the one that it now uses.
    pub fn end_older_tunnels(&mut self, moved: &Move) {
        for slot in self.census.tunnels_of(&moved.identity).to_vec() {
            let tunnel = self.tunnels.get_mut(slot);
            if tunnel.is_some_and(|tunnel| tunnel.created_at() < moved.at) {
                self.remove(slot, Removal::Moved);
            }
        }
    }
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Move").finish_non_exhaustive()
    }
}

//! Events of a shard for its caller.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Event for other shards, or for the directory of tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An identity uses a new tunnel. Pass the move to all other shards with
    /// [`end_older_tunnels`](crate::SnapTunServer::end_older_tunnels). Only if
    /// [`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity) is set.
    Moved(Move),
    /// A tunnel came into use, is still in use, or is gone: for a directory of tunnels that the next process restores.
    /// Only if [`directory_changes`](crate::ShardConfig::directory_changes) is set.
    Directory(DirectoryChange),
}

/// Move of an identity to a new tunnel, which makes its older tunnels in other shards obsolete.
#[derive(Clone, PartialEq, Eq)]
pub struct Move {
    pub(crate) identity: [u8; 32],
    /// Creation time of the new tunnel.
    pub(crate) at: Instant,
}

/// Change of the directory of tunnels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DirectoryChange {
    /// The peer uses the tunnel at this address.
    Seen {
        /// Address of the tunnel.
        remote: SocketAddr,
        /// Identity of the peer.
        identity: [u8; 32],
        /// Time of the peer's last authenticated message.
        heard_at: Instant,
    },
    /// The address no longer has a tunnel.
    Gone {
        /// Address of the former tunnel.
        remote: SocketAddr,
    },
}

impl DirectoryChange {
    /// Minimum advance of `heard_at` after which a tunnel is reported again.
    pub const REFRESH: Duration = Duration::from_secs(60);
}

/// Events not yet taken by the caller.
///
/// When the directory queue is full, a live tunnel is reported at its next timer check instead. The end of a tunnel is
/// not reported then, so its entry in the caller's directory becomes outdated.
pub(crate) struct Events {
    moves: VecDeque<Move>,
    directory: VecDeque<DirectoryChange>,
    directory_capacity: usize,
}

impl Events {
    pub(crate) fn new(directory_capacity: usize) -> Self {
        Events {
            moves: VecDeque::new(),
            directory: VecDeque::new(),
            directory_capacity,
        }
    }

    pub(crate) fn push_move(&mut self, moved: Move) {
        self.moves.push_back(moved);
    }

    pub(crate) fn pop_move(&mut self) -> Option<Move> {
        self.moves.pop_front()
    }

    pub(crate) fn has_room_for_directory(&self) -> bool {
        self.directory.len() < self.directory_capacity
    }

    /// Queues a directory change if there is room.
    pub(crate) fn push_directory(&mut self, change: DirectoryChange) {
        if self.has_room_for_directory() {
            self.directory.push_back(change);
        }
    }

    pub(crate) fn pop_directory(&mut self) -> Option<DirectoryChange> {
        self.directory.pop_front()
    }
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Move").finish_non_exhaustive()
    }
}

impl fmt::Debug for DirectoryChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryChange::Seen {
                remote, heard_at, ..
            } => f
                .debug_struct("Seen")
                .field("remote", remote)
                .field("heard_at", heard_at)
                .finish_non_exhaustive(),
            DirectoryChange::Gone { remote } => {
                f.debug_struct("Gone").field("remote", remote).finish()
            }
        }
    }
}

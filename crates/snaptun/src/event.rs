//! What comes out of a shard besides packets.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Something that others than the peers of the shard's tunnels have to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An identity uses a new tunnel. Tell all other shards, by
    /// [`end_older_tunnels`](crate::SnapTunServer::end_older_tunnels). Only where
    /// [`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity) is set.
    Moved(Move),
    /// A tunnel came into use, is still in use, or is gone: for whoever keeps a directory of tunnels for the next
    /// process. Only where [`directory_changes`](crate::ShardConfig::directory_changes) is set.
    Directory(DirectoryChange),
}

/// An identity uses a new tunnel: its older ones, at other shards, have no more use.
#[derive(Clone, PartialEq, Eq)]
pub struct Move {
    pub(crate) identity: [u8; 32],
    /// When the new tunnel came into being.
    pub(crate) at: Instant,
}

/// A change of the directory of tunnels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DirectoryChange {
    /// The peer uses the tunnel at this address.
    Seen {
        /// The address of the tunnel.
        remote: SocketAddr,
        /// Its identity.
        identity: [u8; 32],
        /// When the peer last sent something authenticated.
        heard_at: Instant,
    },
    /// The address has no tunnel any more.
    Gone {
        /// The address.
        remote: SocketAddr,
    },
}

impl DirectoryChange {
    /// A tunnel is reported again when its peer was heard from so much later than reported.
    pub const REFRESH: Duration = Duration::from_secs(60);
}

/// The events that the caller has not taken.
///
/// Where there is no room for a change of the directory, nothing waits and nothing grows: a tunnel is reported when its
/// timers are looked at the next time, and one that is gone is not reported, so that what the caller has of it grows
/// old.
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

    /// Reports a change of the directory if there is room.
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

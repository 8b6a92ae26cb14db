//! Events of a shard for its caller.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::usage::Usage;

/// Event for other shards, for the directory of tunnels, or for accounting. `S` is the session data of the
/// authorization. No event tells of a new tunnel: see
/// [`Consumed::HandshakeAnswered`](crate::Consumed::HandshakeAnswered).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<S> {
    /// An identity uses a new tunnel, possibly its first. Its older tunnels in this shard have ended; pass the move to all other shards
    /// with [`end_older_tunnels`](crate::SnapTunServer::end_older_tunnels). Only if
    /// [`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity) is set.
    Moved(Move),
    /// A tunnel came into use, is still in use, or is gone. From these changes the caller keeps a directory of tunnels
    /// for the next process, which passes it to [`remember`](crate::SnapTunServer::remember). Only if
    /// [`directory_changes`](crate::ShardConfig::directory_changes) is not 0.
    Directory(DirectoryChange),
    /// A tunnel that was in use has ended, or the session data of its grant has changed, at the `now`
    /// of the batch. Only if [`usage_records`](crate::ShardConfig::usage_records) is set.
    Usage(Usage<S>),
}

/// Move of an identity to a new tunnel, which makes its older tunnels in other shards obsolete.
///
/// It is meant for the shards of the same process; clone it for each of them. Moves may arrive late, repeatedly and in
/// any order, since each ends only tunnels that were created before the new one. If a move is lost, the older tunnels
/// expire.
#[derive(Clone, PartialEq, Eq)]
pub struct Move {
    pub(crate) identity: [u8; 32],
    /// Creation time of the new tunnel.
    pub(crate) at: Instant,
}

/// Change of the directory of tunnels.
///
/// At most [`directory_changes`](crate::ShardConfig::directory_changes) wait for
/// [`poll_event`](crate::SnapTunServer::poll_event). Beyond that, a tunnel in use is reported at a later timer check,
/// but a [`Gone`](Self::Gone) is lost. A directory therefore also removes entries that are not reported again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DirectoryChange {
    /// The peer uses the tunnel at this address. Reported at the first timer check after the first use, and again when
    /// `heard_at` has advanced by [`REFRESH`](DirectoryChange::REFRESH).
    Seen {
        /// Address of the tunnel.
        remote: SocketAddr,
        /// Identity of the peer.
        identity: [u8; 32],
        /// Time of the peer's last authenticated message. It has no meaning in another process: convert it to system
        /// time to save it.
        heard_at: Instant,
    },
    /// The address no longer has a tunnel.
    Gone {
        /// Address of the former tunnel.
        remote: SocketAddr,
    },
}

impl DirectoryChange {
    /// Minimum advance of `heard_at` after which a tunnel is reported again: 60 s.
    pub const REFRESH: Duration = Duration::from_secs(60);
}

/// Events not yet taken by the caller.
///
/// When the directory queue is full, a live tunnel is reported at its next timer check instead. The end of a tunnel is
/// not reported then, so its entry in the caller's directory becomes outdated.
pub(crate) struct Events<S> {
    moves: VecDeque<Move>,
    usage: VecDeque<Usage<S>>,
    keeps_usage: bool,
    directory: VecDeque<DirectoryChange>,
    directory_capacity: usize,
}

impl<S> Events<S> {
    pub(crate) fn new(directory_capacity: usize, keeps_usage: bool) -> Self {
        Events {
            moves: VecDeque::new(),
            usage: VecDeque::new(),
            keeps_usage,
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

    /// Queues the usage of a tunnel, if there is one and the caller wants it.
    pub(crate) fn push_usage(&mut self, usage: impl FnOnce() -> Option<Usage<S>>) {
        if self.keeps_usage {
            self.usage.extend(usage());
        }
    }

    pub(crate) fn pop_usage(&mut self) -> Option<Usage<S>> {
        self.usage.pop_front()
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

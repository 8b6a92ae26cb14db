//! Which tunnels there are, told to a caller that keeps them for the process after this one.
//!
//! The caller takes changes out of a buffer. Where that is full nothing waits and nothing grows: a tunnel is
//! told of when its timers are looked at the next time, and one that is gone is not told of, so that what
//! the caller has of it grows old.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::authorization::SnapTunAuthorization;
use crate::server::SnapTunServer;

/// How much later than told a tunnel was heard from when it is told of again.
pub(crate) const DIRECTORY_REFRESH: Duration = Duration::from_secs(60);

/// What is new about the tunnels of a shard.
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

/// The changes that the caller has not taken.
pub(crate) struct Directory {
    changes: VecDeque<DirectoryChange>,
    capacity: usize,
}

impl Directory {
    pub(crate) fn new(capacity: usize) -> Self {
        Directory {
            changes: VecDeque::new(),
            capacity,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.changes.len() < self.capacity
    }

    /// Tells of a change if there is room.
    pub(crate) fn tell(&mut self, change: DirectoryChange) {
        if self.has_room() {
            self.changes.push_back(change);
        }
    }
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// The next change of the directory of tunnels, in the order in which they happened.
    ///
    /// Call it after every batch until there are no more, or no more can be kept. There are none unless
    /// [`directory_changes`](crate::ShardConfig::directory_changes) is set.
    ///
    /// A tunnel that its peer uses is told of within a look at its timers, and again when it was heard from
    /// [`DIRECTORY_REFRESH`](Self::DIRECTORY_REFRESH) later than told.
    #[must_use]
    pub fn next_directory_change(&mut self) -> Option<DirectoryChange> {
        self.directory.changes.pop_front()
    }

    /// How much later than told a tunnel was heard from when it is told of again.
    pub const DIRECTORY_REFRESH: Duration = DIRECTORY_REFRESH;
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

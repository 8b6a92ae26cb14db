//! Ownership of tunnels by workers.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use udp_shards::DispatchKey;

/// Finds the worker that owns a tunnel, from the view of one worker.
///
/// The kernel runs the same function when it spreads datagrams over the sockets, so in the steady state a worker owns
/// everything that it receives.
#[derive(Clone)]
pub(crate) struct Owners {
    pub(crate) key: DispatchKey,
    pub(crate) workers: NonZeroUsize,
    pub(crate) me: usize,
}

impl Owners {
    /// Index of the worker that owns the tunnel to `remote`.
    pub(crate) fn owner_of(&self, remote: SocketAddr) -> usize {
        self.key.worker_of(remote, self.workers)
    }
}

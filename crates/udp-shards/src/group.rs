//! Binding the sockets of all workers to one address.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use crate::{BufferReport, Dispatch, DispatchKey, ShardSocket, SocketOptions};

/// The most workers a group can have: its 2 * workers + 1 sockets are counted by a 16-bit number
/// in the kernel.
pub const MAX_WORKERS: usize = 1024;

/// The sockets of one listen address for tunnels.
#[derive(Debug)]
pub struct TunnelGroup {
    /// The address all sockets are bound to, with the real port.
    pub local_addr: SocketAddr,
    /// One socket per worker. With [`Dispatch::Kernel`] it receives the data messages (type 4)
    /// of the addresses that this worker owns; with [`Dispatch::User`] any message of any address.
    pub data: Vec<ShardSocket>,
    /// One socket per worker for handshake messages (types 1 to 3) of the addresses that this
    /// worker owns, so that a flood of them leaves the data sockets' buffers alone. Empty with
    /// [`Dispatch::User`], where nothing could steer messages to them.
    ///
    /// A train holds messages of one remote address, but not always of one type: it arrives where
    /// its first message belongs. Treat every message by its own type.
    pub handshake: Vec<ShardSocket>,
    /// Where [`Dispatch::Kernel`] drops what is no SNAPtun message. Keep it: it is a member of
    /// the group. `None` with [`Dispatch::User`], where each data socket drops its own.
    pub garbage: Option<GarbageSocket>,
    /// The buffers of the sockets.
    pub buffers: BufferReport,
}

/// The socket that swallows what is no SNAPtun message, without queueing it.
#[derive(Debug)]
pub struct GarbageSocket {
    socket: ShardSocket,
}

impl GarbageSocket {
    /// Datagrams (or trains of them) that were no SNAPtun message, since the socket was bound.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.socket.kernel_drops()
    }
}

/// The sockets of the internal address that SCION routers send to.
#[derive(Debug)]
pub struct UpstreamGroup {
    /// The address all sockets are bound to, with the real port.
    pub local_addr: SocketAddr,
    /// One socket per worker. With [`Dispatch::Kernel`] it receives the SCION packets whose
    /// destination address (host, port) this worker owns, and some of those that the program cannot
    /// parse; with [`Dispatch::User`] any packet.
    pub sockets: Vec<ShardSocket>,
    /// The buffers of the sockets.
    pub buffers: BufferReport,
}

/// Why sockets could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket holds the address, be it shared (SO_REUSEPORT) or not.
    #[error("{address} is already in use by another socket")]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// More than [`MAX_WORKERS`].
    #[error("{workers} workers are too many: a group has at most {MAX_WORKERS}")]
    TooManyWorkers {
        /// The number asked for.
        workers: usize,
    },
    /// The kernel refused a step.
    #[error("cannot {step} for {address}: {source}")]
    Refused {
        /// What was tried, as a verb: "bind a socket".
        step: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Binds the sockets of `workers` workers for tunnels to `listen`; port 0 picks a free port.
///
/// # Errors
///
/// See [`BindError`].
pub fn bind_tunnel_group(
    listen: SocketAddr,
    workers: NonZeroUsize,
    key: &DispatchKey,
    dispatch: Dispatch,
    options: &SocketOptions,
) -> Result<TunnelGroup, BindError> {
    let _ = (listen, workers, key, dispatch, options);
    todo!()
}

/// Binds one socket per worker to the `internal` address that SCION routers send to.
///
/// # Errors
///
/// See [`BindError`].
pub fn bind_upstream_group(
    internal: SocketAddr,
    workers: NonZeroUsize,
    key: &DispatchKey,
    dispatch: Dispatch,
    options: &SocketOptions,
) -> Result<UpstreamGroup, BindError> {
    let _ = (internal, workers, key, dispatch, options);
    todo!()
}

/// Binds one socket outside any group, for a client; port 0 picks a free port.
///
/// # Errors
///
/// See [`BindError`].
pub fn bind_client_socket(
    local: SocketAddr,
    options: &SocketOptions,
) -> Result<ShardSocket, BindError> {
    let _ = (local, options);
    todo!()
}

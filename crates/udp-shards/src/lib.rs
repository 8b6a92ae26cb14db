//! UDP sockets for workers that share nothing, on Linux.
//!
//! A server with N workers binds one address with N `SO_REUSEPORT` sockets. A keyed hash assigns each remote
//! address to a worker ([`DispatchKey::worker_of`]). A classic BPF program computes the same hash in the kernel
//! and puts each datagram on the socket of its worker, so the workers need no locks, no shared map and no hop
//! between threads. Datagrams cross the kernel in *trains*: runs of datagrams of one flow in one buffer (GRO and
//! GSO), with many trains per system call.
//!
//! The programs read two protocols:
//!
//! - [`bind_tunnel_group`] is for SNAPtun, which is WireGuard with a longer handshake response. It dispatches by
//!   the source address, separates data from handshake messages, and drops datagrams that cannot hold a message.
//! - [`bind_upstream_group`] is for SCION. It dispatches by the destination (host and port) in the SCION header.
//!
//! [`bind_client_socket`], [`ReceiveBatch`] and [`SendQueue`] work with any protocol, and see below for groups. Sockets
//! are non-blocking and expose their file descriptor; waiting for readiness is up to the caller. No call waits.
//! Requires Linux 5.0 (UDP_GRO), and no privileges.
//!
//! # Other protocols
//!
//! - A single socket, for a client or a server, comes from [`bind_client_socket`]. Sockets bound elsewhere cannot be
//!   used.
//! - [`bind_upstream_group`] with [`Dispatch::User`] attaches no program and no filter: a plain `SO_REUSEPORT` group
//!   for any protocol, in which the kernel spreads flows by its own hash. All datagrams of a flow (addresses and ports)
//!   then arrive at the same socket.
//! - [`bind_tunnel_group`] dispatches any datagram by its source address, but in the kernel it drops those of less than
//!   32 bytes, and those of less than 64 bytes that are no SNAPtun message, with [`Dispatch::User`] too. Longer ones
//!   that are no SNAPtun message arrive at the owner's [`mixed`](TunnelGroup::mixed) socket.
//! - A program for another protocol cannot be supplied. [`DispatchKey::worker_of`] assigns addresses to workers in
//!   userspace for any protocol; the caller then passes on datagrams that arrive at another worker.
//!
//! # Path of a datagram
//!
//! 1. [`bind_tunnel_group`] or [`bind_upstream_group`] binds the sockets and attaches the dispatch program
//!    (`group.rs`, `cbpf.rs`, `dispatch.rs`).
//! 2. The kernel joins consecutive datagrams of one flow into a train (GRO), runs the program, and queues the train
//!    on one [`ShardSocket`].
//! 3. [`ShardSocket::receive`] takes many trains per system call into a [`ReceiveBatch`]. A [`Received`] train owns
//!    its bytes and splits into datagrams without copying (`receive.rs`).
//! 4. The caller pushes its datagrams to a [`SendQueue`], which gathers those to one destination into trains
//!    (`train.rs`).
//! 5. [`SendQueue::flush`] sends many trains per system call without copying the datagrams together, and reports
//!    one outcome per datagram (`send.rs`).
//!
//! # Threads and ownership
//!
//! Sockets, batches and queues are `Send` but not `Sync`: bind a group on one thread, then give each worker's thread
//! its sockets, a batch, and a queue for each socket that it sends from. A [`Received`] train owns its bytes and can be
//! sent to another thread. All sockets of a group have to stay open until the last worker has stopped, because the
//! kernel renumbers the others when one is closed. A worker that ends early returns its sockets instead of dropping
//! them. Lanes ([`LaneBinder`]) are an exception.
//!
//! # Modules
//!
//! Each module imports only those below it. The crate's only dependency in the workspace is a
//! macro.
//!
//! | module | content |
//! | --- | --- |
//! | `group` | binding sockets, attaching programs |
//! | `send` | the send queue and its system calls |
//! | `socket` | a worker's socket |
//! | `send_buffer` | size of a send buffer that follows its rate |
//! | `receive`, `train` | batches of received trains, gathering of sent datagrams |
//! | `refusals` | addresses for which the kernel refused trains, or refused to send |
//! | `sys` | system calls: all unsafe code |
//! | `cbpf` | programs for the kernel, as data |
//! | `dispatch`, `options`, `received` | the hash; plain values |
//!
//! [`is_clock_synchronized`] has nothing to do with sockets. It is here because `sys` has all unsafe code of the
//! workspace.
//!
//! # Performance
//!
//! CPU time of the calling thread per datagram of 1400 bytes, to or from one peer over loopback, where the sender's
//! time includes the network stack of the receiving side. 64 single datagrams, or one train, are sent per call; sockets
//! have no dispatch program. (`scripts/bench.sh sockets` in the repository, commit 85b1348685, Intel Xeon, Linux 6.18.)
//!
//! | datagrams | send | receive |
//! | --- | --- | --- |
//! | single | 1226 ns | 629 ns |
//! | in trains of 16 | 255 ns | 136 ns |
//! | in trains of 44 | 187 ns | 115 ns |
//!
//! `docs/PERFORMANCE.md` in the repository has more cases, and the comparison with quinn-udp.
//!
//! # Example
//!
//! `examples/sharded_sockets.rs` runs a group with one thread per worker.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Instant;
//! use udp_shards::{
//!     Dispatch, DispatchKey, Flush, ReceiveBatch, SendQueue, SocketOptions, bind_client_socket,
//!     bind_tunnel_group,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let workers = NonZeroUsize::new(4).ok_or("no workers")?;
//! let (key, options) = (DispatchKey::random()?, SocketOptions::default());
//! let listen = "127.0.0.1:0".parse()?;
//! let group = bind_tunnel_group(listen, workers, &key, Dispatch::Kernel, &options)?;
//!
//! // A client sends three data messages of 60 bytes as one train.
//! let client = bind_client_socket("127.0.0.1:0".parse()?, &options)?;
//! let mut queue = SendQueue::with_limits(1024, 1024 * 1024);
//! for _ in 0..3 {
//!     let mut message = vec![0; 60];
//!     message[0] = 4;
//!     queue.push(group.local_addr, None, message).map_err(|_| "full")?;
//! }
//! let flush = queue.flush(&client, Instant::now(), &mut |_message, outcome| assert_eq!(outcome, Ok(())));
//! assert_eq!(flush, Flush::Empty);
//!
//! // The train arrives at the worker that owns the client's address.
//! let owner = key.worker_of(client.local_addr(), workers);
//! let mut batch = ReceiveBatch::new(32);
//! assert_eq!(group.data[owner].receive(&mut batch)?, 1);
//! for train in batch.drain() {
//!     assert_eq!((train.from, train.segment_size), (client.local_addr(), 60));
//!     assert_eq!(train.into_datagrams().count(), 3);
//! }
//! # Ok(())
//! # }
//! ```

mod cbpf;
mod dispatch;
mod group;
mod options;
#[cfg(feature = "fuzzing")]
pub mod programs;
mod receive;
mod received;
mod refusals;
mod send;
mod send_buffer;
mod socket;
mod sys;
mod train;

pub use dispatch::{Dispatch, DispatchKey};
pub use group::{
    BindError, BindStep, GarbageSocket, LaneBinder, MAX_WORKERS, TunnelGroup, UpstreamGroup,
    bind_client_socket, bind_tunnel_group, bind_upstream_group,
};
pub use options::{BufferReport, BufferSize, InterfaceName, InvalidInterfaceName, SocketOptions};
pub use receive::ReceiveBatch;
pub use received::{Datagrams, Received};
pub use send::{Flush, SendError, SendQueue};
pub use socket::ShardSocket;
pub use sys::clock::is_clock_synchronized;

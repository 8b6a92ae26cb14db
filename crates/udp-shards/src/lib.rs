//! UDP sockets for workers that share nothing.
//!
//! A gateway with N workers binds one address with N sockets, and each worker owns the remote
//! addresses that a keyed hash gives it ([`DispatchKey::worker_of`]). The kernel computes the same
//! hash and puts each datagram on the socket of the worker that owns its sender, so workers need
//! no lock, no shared map, and no hop between threads.
//!
//! # A packet's way
//!
//! 1. [`bind_tunnel_group`] or [`bind_upstream_group`] binds the sockets and attaches the program
//!    that dispatches (`group.rs`, `cbpf.rs`, `dispatch.rs`). Towards tunnels it reads the sender's
//!    address and the type of the message; towards SCION it reads the destination out of the SCION
//!    header.
//! 2. The kernel joins consecutive datagrams of one flow into a *train* (GRO), drops what is no
//!    SNAPtun message, and queues the train on one [`ShardSocket`].
//! 3. [`ShardSocket::receive`] takes many trains per system call into a [`ReceiveBatch`]. A
//!    [`Received`] train owns its bytes and splits into datagrams without copying (`receive.rs`).
//! 4. The caller does its work, and pushes what must leave to a [`SendQueue`], which gathers
//!    datagrams to one destination into trains (`train.rs`).
//! 5. [`SendQueue::flush`] sends many trains per system call, gathered from where their datagrams
//!    lie, and reports one outcome per datagram (`send.rs`).
//!
//! # Layers
//!
//! Each module knows those below it only.
//!
//! | module | does |
//! | --- | --- |
//! | `group` | binds sockets, attaches programs |
//! | `send` | a queue that leaves through a socket |
//! | `socket` | one worker's socket |
//! | `receive`, `train` | batches of trains in, datagrams gathered into trains out |
//! | `sys` | system calls: all unsafe code |
//! | `cbpf` | programs for the kernel, as data |
//! | `dispatch`, `options`, `received` | the hash; plain values |
//!
//! This crate knows no other crate of the workspace: what a tunnel or a SCION packet is, it knows
//! only as far as the programs read them.
//!
//! # What trains are worth
//!
//! On loopback with datagrams of 1400 bytes, a datagram costs the sender about 1200 ns and the
//! receiver 370 ns when it travels alone, 180 and 100 ns in trains of 16, and 115 and 80 ns in
//! trains of 44; system calls are batched in all cases. The dispatch program costs about 55 ns
//! (IPv4) or 95 ns (IPv6) per train or single datagram, most of it for the hash.
//!
//! # Example
//!
//! ```
//! use std::num::NonZeroUsize;
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
//! // A client sends three data messages of 60 bytes: one train.
//! let client = bind_client_socket("127.0.0.1:0".parse()?, &options)?;
//! let mut queue = SendQueue::with_limits(1024, 1024 * 1024);
//! for _ in 0..3 {
//!     let mut message = vec![0; 60];
//!     message[0] = 4;
//!     queue.push(group.local_addr, None, message).map_err(|_| "full")?;
//! }
//! let flush = queue.flush(&client, &mut |_message, outcome| assert_eq!(outcome, Ok(())));
//! assert_eq!(flush, Flush::Empty);
//!
//! // They arrive at the worker that owns the client's address.
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
mod send;
mod socket;
mod sys;
mod train;

pub use dispatch::{Dispatch, DispatchKey};
pub use group::{
    BindError, GarbageSocket, MAX_WORKERS, TunnelGroup, UpstreamGroup, bind_client_socket,
    bind_tunnel_group, bind_upstream_group,
};
pub use options::{BufferReport, BufferSize, SocketOptions};
pub use receive::ReceiveBatch;
pub use received::{Datagrams, Received};
pub use send::{Flush, SendError, SendQueue};
pub use socket::ShardSocket;
pub use sys::clock::is_clock_synchronized;

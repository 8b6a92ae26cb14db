//! UDP sockets for workers that share nothing.

mod cbpf;
mod dispatch;
mod group;
mod options;
mod receive;
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
pub use receive::{Datagrams, ReceiveBatch, Received};
pub use send::{Flush, SendError, SendQueue};
pub use socket::ShardSocket;

//! What the sockets are asked for, and what the kernel granted.

/// How sockets are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Receive trains: the kernel joins consecutive datagrams of one flow into one buffer
    /// (UDP_GRO).
    pub gro: bool,
    /// Send trains: consecutive datagrams to one destination leave as one buffer (UDP_SEGMENT).
    pub gso: bool,
    /// Wanted receive buffer per socket, in bytes of packet data as SO_RCVBUF counts it.
    pub receive_buffer_bytes: usize,
    /// Wanted send buffer per socket, in bytes as SO_SNDBUF counts it.
    pub send_buffer_bytes: usize,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            gro: true,
            gso: true,
            receive_buffer_bytes: 8 * 1024 * 1024,
            send_buffer_bytes: 4 * 1024 * 1024,
        }
    }
}

/// The buffers of a group's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferReport {
    /// The receive buffer of each socket.
    pub receive: BufferSize,
    /// The send buffer of each socket.
    pub send: BufferSize,
}

/// A socket buffer's size, wanted and granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSize {
    /// What [`SocketOptions`] asked for, in bytes.
    pub wanted_bytes: usize,
    /// What the kernel granted, in the same bytes. Less than wanted when `net.core.rmem_max` or
    /// `wmem_max` is smaller and the process lacks CAP_NET_ADMIN.
    pub got_bytes: usize,
}

impl BufferSize {
    /// Whether the kernel granted less than was wanted.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.got_bytes < self.wanted_bytes
    }
}

//! Socket options, requested and granted.

/// Options of each socket that this crate binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Receive trains (UDP_GRO): the kernel joins consecutive datagrams of one flow into one buffer. Default: true.
    pub gro: bool,
    /// Send trains (UDP_SEGMENT): consecutive datagrams to one destination are sent as one buffer. Default: true.
    pub gso: bool,
    /// Requested receive buffer per socket, in bytes as SO_RCVBUF counts them. Default: 8 MiB.
    pub receive_buffer_bytes: usize,
    /// Requested send buffer per socket, in bytes as SO_SNDBUF counts them. Default: 4 MiB.
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

/// Buffer sizes of each socket of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferReport {
    /// Receive buffer.
    pub receive: BufferSize,
    /// Send buffer.
    pub send: BufferSize,
}

/// Size of a socket buffer, requested and granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSize {
    /// Size requested in [`SocketOptions`], in bytes.
    pub wanted_bytes: usize,
    /// Size granted by the kernel, in the same unit. Less than requested if `net.core.rmem_max` or
    /// `net.core.wmem_max` is smaller and the process lacks CAP_NET_ADMIN.
    pub got_bytes: usize,
}

impl BufferSize {
    /// Returns true if the kernel granted less than requested.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.got_bytes < self.wanted_bytes
    }
}

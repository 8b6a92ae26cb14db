//! One worker's socket.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::Socket;

use crate::ReceiveBatch;

/// A non-blocking UDP socket that belongs to one worker: it can move to that worker's thread, but
/// not be shared.
#[derive(Debug)]
pub struct ShardSocket {
    socket: Socket,
    local_addr: SocketAddr,
    wildcard: bool,
    /// Cleared for good when the kernel or the network card refuses a train.
    gso: Cell<bool>,
    /// All drops seen, widened from the kernel's 32-bit count.
    kernel_drops: Cell<u64>,
}

impl ShardSocket {
    /// The address the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether the socket is bound to all addresses: then a datagram's local address is reported
    /// on receive and must be given on send.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether trains leave as one buffer. Starts as [`SocketOptions::gso`] says, and goes off for
    /// good when the kernel refuses a train.
    ///
    /// [`SocketOptions::gso`]: crate::SocketOptions::gso
    #[must_use]
    pub fn is_gso_enabled(&self) -> bool {
        self.gso.get()
    }

    /// Datagrams (a train counts once) that the kernel dropped instead of queueing them here since
    /// the socket was bound: its receive buffer was full, the checksum wrong, or a filter refused
    /// it. One system call.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        todo!()
    }

    /// Sends only to, and receives only from, `remote` from now on (connect(2)).
    ///
    /// # Errors
    ///
    /// When `remote` cannot be reached from the bound address.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        let _ = (remote, &self.socket);
        todo!()
    }

    /// Receives up to a batch's number of trains and returns how many are ready to be drained.
    /// When trains of an earlier call are still in the batch, returns their number and receives
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing is queued; other errors as recvmmsg(2).
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        let _ = batch;
        todo!()
    }
}

impl AsFd for ShardSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ShardSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

//! One worker's socket.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::Socket;

use crate::ReceiveBatch;
use crate::sys::sockopt;

/// A non-blocking UDP socket that belongs to one worker: it can move to that worker's thread, but
/// not be shared.
#[derive(Debug)]
pub struct ShardSocket {
    socket: Socket,
    local_addr: SocketAddr,
    /// Cleared for good when the kernel or the network card refuses a train.
    gso: Cell<bool>,
    /// All drops seen, widened from the kernel's 32-bit count.
    kernel_drops: Cell<u64>,
}

impl ShardSocket {
    /// Takes a bound socket, see `group.rs`.
    pub(crate) fn new(socket: Socket, local_addr: SocketAddr, gso: bool) -> Self {
        Self {
            socket,
            local_addr,
            gso: Cell::new(gso),
            kernel_drops: Cell::new(0),
        }
    }

    /// The address the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether the socket is bound to all addresses: then a datagram's local address is reported
    /// on receive and should be given on send.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.local_addr.ip().is_unspecified()
    }

    /// Whether trains leave as one buffer. Starts as [`SocketOptions::gso`] says, and goes off for
    /// good when the kernel refuses a train.
    ///
    /// [`SocketOptions::gso`]: crate::SocketOptions::gso
    #[must_use]
    pub fn is_gso_enabled(&self) -> bool {
        self.gso.get()
    }

    pub(crate) fn gso_switch(&self) -> &Cell<bool> {
        &self.gso
    }

    /// Datagrams (a train counts once) that the kernel dropped instead of queueing them here since
    /// the socket was bound: its receive buffer was full, the checksum wrong, or a filter refused
    /// it. One system call.
    ///
    /// The kernel counts modulo 2^32: ask often enough to see each wrap. This is what SO_RXQ_OVFL
    /// reports with the next datagram that is queued, but up to date and without a cost per
    /// datagram.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        if let Ok(drops) = sockopt::drops(&self.socket) {
            self.kernel_drops.set(widen(self.kernel_drops.get(), drops));
        }
        self.kernel_drops.get()
    }

    /// Sends to and receives from `remote` only, from now on (connect(2)).
    ///
    /// # Errors
    ///
    /// When `remote` cannot be reached from the bound address.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.socket.connect(&remote.into())
    }

    /// Receives up to a batch's number of trains and returns how many are ready to be taken.
    /// When trains of an earlier call are still in the batch, returns their number and receives
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing is queued; other errors as recvmmsg(2).
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.receive(&self.socket)
    }
}

/// The wide count that follows `before` when the kernel's count is `now`.
fn widen(before: u64, now: u32) -> u64 {
    before + u64::from(now.wrapping_sub(before as u32))
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

#[cfg(test)]
mod tests {
    use super::widen;

    #[test]
    fn a_wrapped_count_goes_on() {
        assert_eq!(widen(0, 0), 0);
        assert_eq!(widen(0, 7), 7);
        assert_eq!(widen(7, 7), 7);
        assert_eq!(widen(0xffff_fff0, 0x10), 0x1_0000_0010);
        assert_eq!(widen(0x1_0000_0010, 0x12), 0x1_0000_0012);
    }
}

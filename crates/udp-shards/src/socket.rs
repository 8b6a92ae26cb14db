//! A worker's socket.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::Socket;

use crate::ReceiveBatch;
use crate::sys::sockopt;

/// A non-blocking UDP socket of one worker. It is `Send` but not `Sync`.
///
/// Register it with a poller by its file descriptor ([`AsRawFd`]).
#[derive(Debug)]
pub struct ShardSocket {
    socket: Socket,
    local_addr: SocketAddr,
    /// Cleared permanently when the kernel or the network card refuses a train.
    gso: Cell<bool>,
    /// Drops so far, widened from the kernel's 32-bit count.
    kernel_drops: Cell<u64>,
    /// Drops while the group of the socket was being bound.
    drops_at_start: u64,
}

impl ShardSocket {
    /// Wraps a bound socket that receives, see `group.rs`.
    pub(crate) fn new(socket: Socket, local_addr: SocketAddr, gso: bool) -> Self {
        let drops_at_start = sockopt::drops(&socket).unwrap_or(0).into();
        Self {
            socket,
            local_addr,
            gso: Cell::new(gso),
            kernel_drops: Cell::new(drops_at_start),
            drops_at_start,
        }
    }

    /// Returns the address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns true if the socket is bound to the unspecified address. Then received trains carry their
    /// local address, and answers should name it as their source.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.local_addr.ip().is_unspecified()
    }

    /// Returns true if trains are sent as one buffer. The initial value is [`SocketOptions::gso`]; the
    /// socket disables GSO permanently when the kernel refuses a train.
    ///
    /// [`SocketOptions::gso`]: crate::SocketOptions::gso
    #[must_use]
    pub fn is_gso_enabled(&self) -> bool {
        self.gso.get()
    }

    pub(crate) fn gso_switch(&self) -> &Cell<bool> {
        &self.gso
    }

    /// Returns the number of datagrams that the kernel dropped since the socket and its group were bound, because of a
    /// full receive buffer, a wrong checksum or a filter. A train counts once. Makes one system call.
    ///
    /// If the call fails, returns the last known number.
    ///
    /// The kernel counts modulo 2^32; call this at least once per wrap. SO_RXQ_OVFL reports the same
    /// count, but only with the next queued datagram and at a cost per datagram.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        if let Ok(drops) = sockopt::drops(&self.socket) {
            self.kernel_drops.set(widen(self.kernel_drops.get(), drops));
        }
        self.kernel_drops.get() - self.drops_at_start
    }

    /// Restricts the socket to datagrams to and from `remote` (connect(2)). Not for members of a group. Datagrams of a
    /// [`SendQueue`](crate::SendQueue) still name their destination.
    ///
    /// # Errors
    ///
    /// The error of connect(2), for example if `remote` has no route from the bound address.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.socket.connect(&remote.into())
    }

    /// Receives up to one train per slot of `batch` without waiting, and returns the number of trains in the batch. If
    /// trains of an earlier call are still in the batch, returns their number and receives nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if no datagram is queued: with an edge-triggered poller such as mio, receive until
    /// then. Other errors as recvmmsg(2), except interruptions by signals, and ICMP messages about earlier datagrams of
    /// a connected socket, after which it tries again.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.receive(&self.socket)
    }
}

/// Returns the 64-bit count that follows `before` given the kernel's 32-bit count `now`.
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
    fn a_wrapped_count_continues() {
        assert_eq!(widen(0, 0), 0);
        assert_eq!(widen(0, 7), 7);
        assert_eq!(widen(7, 7), 7);
        assert_eq!(widen(0xffff_fff0, 0x10), 0x1_0000_0010);
        assert_eq!(widen(0x1_0000_0010, 0x12), 0x1_0000_0012);
    }
}

//! A worker's socket.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Instant;

use socket2::Socket;

use crate::ReceiveBatch;
use crate::send_buffer::SendBufferSize;
use crate::sys::sockopt;

/// A non-blocking UDP socket of one worker. It is `Send` but not `Sync`.
///
/// Register it with a poller by its file descriptor ([`AsRawFd`]).
#[derive(Debug)]
pub struct ShardSocket {
    socket: Socket,
    local_addr: SocketAddr,
    gso: bool,
    /// Drops so far, widened from the kernel's 32-bit count.
    kernel_drops: Cell<u64>,
    /// `None` for a constant size.
    send_buffer: Cell<Option<SendBufferSize>>,
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
            gso,
            kernel_drops: Cell::new(drops_at_start),
            drops_at_start,
            send_buffer: Cell::new(None),
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

    /// Returns [`SocketOptions::gso`]: true if trains are sent as one buffer, where the kernel can.
    ///
    /// [`SocketOptions::gso`]: crate::SocketOptions::gso
    #[must_use]
    pub fn is_gso_enabled(&self) -> bool {
        self.gso
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

    /// Lets the size of the send buffer follow the rate at which it drains, so that datagrams do not become old in it.
    /// Starts with `start_bytes`. Afterwards report each time that a flush is blocked
    /// ([`note_blocked`](Self::note_blocked)) and that the socket is writable again
    /// ([`note_writable`](Self::note_writable)). If half of a full buffer drains in less than 5 ms, the buffer is doubled,
    /// up to its present size; if it takes more than 50 ms, the buffer is halved, down to 32 KiB.
    ///
    /// Without this the size is constant.
    ///
    /// # Errors
    ///
    /// The error of getsockopt(2) or setsockopt(2).
    pub fn adapt_send_buffer(&self, start_bytes: usize) -> io::Result<()> {
        // The kernel doubles the requested size, for its own bookkeeping (socket(7)).
        let configured = self.socket.send_buffer_size()? / 2;
        let size = SendBufferSize::new(start_bytes, configured);
        if size.bytes() < configured {
            sockopt::set_send_buffer(&self.socket, size.bytes())?;
        }
        self.send_buffer.set(Some(size));
        Ok(())
    }

    /// Notes that the send buffer is full, for [`adapt_send_buffer`](Self::adapt_send_buffer).
    pub fn note_blocked(&self, now: Instant) {
        if let Some(mut size) = self.send_buffer.get() {
            size.note_blocked(now);
            self.send_buffer.set(Some(size));
        }
    }

    /// Notes that the socket is writable again, for [`adapt_send_buffer`](Self::adapt_send_buffer). Makes at most two
    /// system calls, and none if the size stays. If they fail, the buffer keeps its size.
    pub fn note_writable(&self, now: Instant) {
        if let Some(mut size) = self.send_buffer.get() {
            if let Some(bytes) = size.note_writable(now) {
                // Both calls can fail only for a socket that is closed.
                let _ = sockopt::set_send_buffer(&self.socket, bytes);
            }
            self.send_buffer.set(Some(size));
        }
    }

    /// Returns the size of the datagrams in the send buffer: those that have not left the host, counted with the
    /// kernel's metadata. Makes one system call.
    ///
    /// # Errors
    ///
    /// The error of getsockopt(2).
    pub fn unsent_bytes(&self) -> io::Result<usize> {
        sockopt::unsent_bytes(&self.socket)
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

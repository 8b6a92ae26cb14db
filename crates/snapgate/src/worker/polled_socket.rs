//! A socket with its readiness.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use udp_shards::{Flush, ReceiveBatch, SendError, SendQueue, ShardSocket};

use crate::worker::error::WorkerError;

/// Time that a packet may wait for room in a send buffer. Older packets are dropped: a path that is slower than its
/// load for so long stays so, and only delays what its applications give up or send again.
pub(super) const QUEUED_TIME_MAX: Duration = Duration::from_millis(250);

/// Size at which send buffers start to adapt, in bytes: 0.4 s on a link of 10 Mbit/s.
pub(super) const SEND_BUFFER_START: usize = 256 << 10;

/// A socket with its state for edge-triggered polling: once reported, a socket counts as readable until a receive finds
/// it empty.
pub(super) struct PolledSocket {
    socket: ShardSocket,
    /// Name in errors.
    name: &'static str,
    token: Token,
    readable: bool,
    /// Time at which the send buffer was full, if the poll has not reported it as writable since.
    blocked_since: Option<Instant>,
}

impl PolledSocket {
    /// Registers a socket, whose send buffer starts with `send_buffer_bytes`, or the configured size if that is smaller.
    pub(super) fn register(
        registry: &Registry,
        socket: ShardSocket,
        token: Token,
        name: &'static str,
        send_buffer_bytes: usize,
    ) -> io::Result<Self> {
        socket.adapt_send_buffer(send_buffer_bytes)?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        Ok(Self {
            socket,
            name,
            token,
            readable: false,
            blocked_since: None,
        })
    }

    /// Returns true if there may be something to receive.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Returns the time since which the send buffer has been full.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Returns the bytes in the send buffer. Makes a system call.
    pub(super) fn unsent_bytes(&self) -> usize {
        // Fails only for a socket that is closed.
        self.socket.unsent_bytes().unwrap_or(0)
    }

    /// Returns the number of datagrams that the kernel dropped. Makes a system call.
    pub(super) fn kernel_drops(&self) -> u64 {
        self.socket.kernel_drops()
    }

    /// Receives one batch; it is empty if the socket is.
    pub(super) fn receive(&mut self, batch: &mut ReceiveBatch) -> Result<(), WorkerError> {
        match self.socket.receive(batch) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            // An ICMP error about an earlier datagram, or a signal: pending datagrams are still there, and the next
            // turn asks again.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                ) =>
            {
                Ok(())
            }
            Err(source) => Err(WorkerError::Receive {
                socket: self.name,
                source,
            }),
        }
    }

    /// Sends the queue. While the send buffer is full, only drops what has waited for too long.
    pub(super) fn flush<B: AsRef<[u8]>>(
        &mut self,
        registry: &Registry,
        queue: &mut SendQueue<B>,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        if queue.is_empty() {
            return Ok(());
        }
        if self.blocked_since.is_some() {
            queue.expire(now, done);
            return Ok(());
        }
        if let Flush::Blocked = queue.flush(&self.socket, now, done) {
            self.blocked_since = Some(now);
            self.socket.note_blocked(Instant::now());
            self.set_interest(registry, Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(())
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, registry: &Registry, event: &Event) -> io::Result<()> {
        if event.is_readable() || event.is_error() {
            self.readable = true;
        }
        if self.blocked_since.is_some() && event.is_writable() {
            self.blocked_since = None;
            self.socket.note_writable(Instant::now());
            self.set_interest(registry, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Asks for writability only while the buffer is full: otherwise every datagram that leaves the buffer would wake
    /// the worker.
    fn set_interest(&self, registry: &Registry, interest: Interest) -> io::Result<()> {
        registry.reregister(
            &mut SourceFd(&self.socket.as_raw_fd()),
            self.token,
            interest,
        )
    }
}

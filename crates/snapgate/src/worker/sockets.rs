//! The sockets of one worker, and what the poll said about them.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use udp_shards::{Flush, GarbageSocket, ReceiveBatch, SendError, SendQueue, ShardSocket};

use super::WorkerError;
use crate::counters::Counters;

/// Token of the waker of the worker's mailbox.
pub(crate) const MAILBOX: Token = Token(0);
const UPSTREAM: Token = Token(1);
const FIRST_LISTENER: usize = 2;

/// Events taken from one poll: more sockets than that are reported by the next one.
const EVENTS: usize = 64;

/// Everything a worker reads from and writes to.
pub(crate) struct Sockets {
    poll: Poll,
    events: Events,
    /// By the index of the listener.
    pub(super) listeners: Vec<ListenerSockets>,
    pub(super) upstream: Option<PolledSocket>,
    /// What swallows garbage; held by one of the workers for all.
    garbage: Vec<GarbageSocket>,
}

/// A worker's sockets of one listen address.
pub(super) struct ListenerSockets {
    pub(super) data: PolledSocket,
    /// Only with kernel dispatch.
    pub(super) handshake: Option<PolledSocket>,
}

/// The same, before they are registered.
pub(crate) struct UnpolledListener {
    pub(crate) data: ShardSocket,
    pub(crate) handshake: Option<ShardSocket>,
}

impl Sockets {
    pub(crate) fn new(
        poll: Poll,
        listeners: Vec<UnpolledListener>,
        upstream: Option<ShardSocket>,
        garbage: Vec<GarbageSocket>,
    ) -> io::Result<Self> {
        let upstream = upstream
            .map(|socket| PolledSocket::register(&poll, socket, UPSTREAM, "the upstream socket"))
            .transpose()?;
        let listeners = listeners
            .into_iter()
            .enumerate()
            .map(|(index, UnpolledListener { data, handshake })| {
                let token = FIRST_LISTENER + 2 * index;
                Ok(ListenerSockets {
                    data: PolledSocket::register(&poll, data, Token(token), "a data socket")?,
                    handshake: handshake
                        .map(|socket| {
                            PolledSocket::register(
                                &poll,
                                socket,
                                Token(token + 1),
                                "a handshake socket",
                            )
                        })
                        .transpose()?,
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listeners,
            upstream,
            garbage,
        })
    }

    /// Sleeps until a socket or the mailbox has something, or for `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let socket = match event.token() {
                MAILBOX => None,
                UPSTREAM => self.upstream.as_mut(),
                Token(token) => {
                    let token = token - FIRST_LISTENER;
                    self.listeners.get_mut(token / 2).and_then(|listener| {
                        if token.is_multiple_of(2) {
                            Some(&mut listener.data)
                        } else {
                            listener.handshake.as_mut()
                        }
                    })
                }
            };
            if let Some(socket) = socket {
                socket.note(&self.poll, event)?;
            }
        }
        Ok(())
    }

    /// Whether a socket is known to have data packets.
    pub(super) fn has_data(&self) -> bool {
        self.listeners.iter().any(|listener| listener.data.readable)
            || self
                .upstream
                .as_ref()
                .is_some_and(|upstream| upstream.readable)
    }

    /// Whether a handshake socket is known to have messages.
    pub(super) fn has_handshakes(&self) -> bool {
        self.listeners
            .iter()
            .any(|l| l.handshake.as_ref().is_some_and(|socket| socket.readable))
    }

    /// Sends what is queued for the tunnels of `listener`.
    pub(super) fn flush_listener<B: AsRef<[u8]>>(
        &mut self,
        listener: usize,
        queue: &mut SendQueue<B>,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        self.listeners[listener].data.flush(&self.poll, queue, done)
    }

    /// Sends what is queued for routers and endhosts.
    pub(super) fn flush_upstream<B: AsRef<[u8]>>(
        &mut self,
        queue: &mut SendQueue<B>,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        match &mut self.upstream {
            Some(upstream) => upstream.flush(&self.poll, queue, done),
            None => Ok(()),
        }
    }

    /// Reads what the kernel dropped: one system call for each socket.
    pub(super) fn count_kernel_drops(&self, counters: &mut Counters) {
        let listeners = || self.listeners.iter();
        counters.kernel_drops_data = listeners().map(|l| l.data.socket.kernel_drops()).sum();
        counters.kernel_drops_handshake = listeners()
            .filter_map(|l| l.handshake.as_ref())
            .map(|handshake| handshake.socket.kernel_drops())
            .sum();
        counters.kernel_drops_upstream = self
            .upstream
            .as_ref()
            .map_or(0, |upstream| upstream.socket.kernel_drops());
        counters.kernel_drops_garbage = self.garbage.iter().map(GarbageSocket::drops).sum();
    }
}

/// A socket with what edge-triggered polling makes us remember: once reported, a socket stays
/// readable until it says that it is empty.
pub(super) struct PolledSocket {
    socket: ShardSocket,
    /// What an error calls it.
    name: &'static str,
    token: Token,
    readable: bool,
    /// The send buffer was full; until the poll reports that it no longer is.
    blocked: bool,
}

impl PolledSocket {
    fn register(
        poll: &Poll,
        socket: ShardSocket,
        token: Token,
        name: &'static str,
    ) -> io::Result<Self> {
        poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        Ok(Self {
            socket,
            name,
            token,
            readable: false,
            blocked: false,
        })
    }

    /// Whether there may be something to receive.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Receives one batch, of nothing when the socket is empty.
    pub(super) fn receive(&mut self, batch: &mut ReceiveBatch) -> Result<(), WorkerError> {
        match self.socket.receive(batch) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            // The answer to something sent earlier (an ICMP error) or a signal: what waits to be
            // received is still there, and the next turn asks again.
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

    fn flush<B: AsRef<[u8]>>(
        &mut self,
        poll: &Poll,
        queue: &mut SendQueue<B>,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        if self.blocked || queue.is_empty() {
            return Ok(());
        }
        if let Flush::Blocked = queue.flush(&self.socket, done) {
            self.blocked = true;
            self.set_interest(poll, Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(())
    }

    fn note(&mut self, poll: &Poll, event: &Event) -> io::Result<()> {
        if event.is_readable() || event.is_error() {
            self.readable = true;
        }
        if self.blocked && event.is_writable() {
            self.blocked = false;
            self.set_interest(poll, Interest::READABLE)?;
        }
        Ok(())
    }

    /// A socket asks for writability only while its buffer is full: otherwise every datagram that
    /// leaves the buffer would wake the worker.
    fn set_interest(&self, poll: &Poll, interest: Interest) -> io::Result<()> {
        poll.registry().reregister(
            &mut SourceFd(&self.socket.as_raw_fd()),
            self.token,
            interest,
        )
    }
}

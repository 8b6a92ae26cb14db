//! The sockets of one worker and their readiness.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use udp_shards::{Flush, GarbageSocket, ReceiveBatch, SendError, SendQueue, ShardSocket};

use crate::counters::Counters;
use crate::worker::error::WorkerError;

/// Token of the waker of the worker's mailbox.
pub(crate) const MAILBOX: Token = Token(0);
const UPSTREAM: Token = Token(1);
const FIRST_LISTENER: usize = 2;

/// Tokens of one listener: its data, its handshake and its mixed socket.
const TOKENS_PER_LISTENER: usize = 3;

/// Events taken from one poll; further sockets are reported by the next one.
const EVENTS: usize = 64;

/// All sockets of a worker.
pub(crate) struct Sockets {
    poll: Poll,
    events: Events,
    /// By index of the listener.
    pub(super) listeners: Vec<ListenerSockets>,
    pub(super) upstream: Option<PolledSocket>,
    /// Sockets that drop garbage, held by one worker for all.
    garbage: Vec<GarbageSocket>,
}

/// A worker's sockets of one listen address.
pub(super) struct ListenerSockets {
    pub(super) data: PolledSocket,
    /// Only with kernel dispatch.
    pub(super) handshake: Option<PolledSocket>,
    /// Only with kernel dispatch.
    pub(super) mixed: Option<PolledSocket>,
}

/// Sockets of one listen address before they are registered.
pub(crate) struct UnpolledListener {
    pub(crate) data: ShardSocket,
    pub(crate) handshake: Option<ShardSocket>,
    pub(crate) mixed: Option<ShardSocket>,
}

impl UnpolledListener {
    /// Registers the sockets with tokens from `first`.
    fn register(self, poll: &Poll, first: usize) -> io::Result<ListenerSockets> {
        let register =
            |socket, kind, name| PolledSocket::register(poll, socket, Token(first + kind), name);
        Ok(ListenerSockets {
            data: register(self.data, 0, "a data socket")?,
            handshake: self
                .handshake
                .map(|socket| register(socket, 1, "a handshake socket"))
                .transpose()?,
            mixed: self
                .mixed
                .map(|socket| register(socket, 2, "a mixed socket"))
                .transpose()?,
        })
    }
}

impl ListenerSockets {
    /// Returns the socket with this token, relative to the listener's first.
    fn by_token(&mut self, token: usize) -> Option<&mut PolledSocket> {
        match token {
            0 => Some(&mut self.data),
            1 => self.handshake.as_mut(),
            2 => self.mixed.as_mut(),
            _ => None,
        }
    }
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
            .map(|(index, listener)| {
                listener.register(&poll, FIRST_LISTENER + TOKENS_PER_LISTENER * index)
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

    /// Sleeps until a socket or the mailbox is ready, at most for `timeout`.
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
                    self.listeners
                        .get_mut(token / TOKENS_PER_LISTENER)
                        .and_then(|listener| listener.by_token(token % TOKENS_PER_LISTENER))
                }
            };
            if let Some(socket) = socket {
                socket.note(&self.poll, event)?;
            }
        }
        Ok(())
    }

    /// Returns true if any socket may have something to receive.
    pub(super) fn is_readable(&self) -> bool {
        let is_readable =
            |socket: &Option<PolledSocket>| socket.as_ref().is_some_and(PolledSocket::is_readable);
        is_readable(&self.upstream)
            || self.listeners.iter().any(|listener| {
                listener.data.is_readable()
                    || is_readable(&listener.handshake)
                    || is_readable(&listener.mixed)
            })
    }

    /// Sends the datagrams queued for the tunnels of `listener`.
    pub(super) fn flush_listener<B: AsRef<[u8]>>(
        &mut self,
        listener: usize,
        queue: &mut SendQueue<B>,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        self.listeners[listener].data.flush(&self.poll, queue, now, done)
    }

    /// Sends the datagrams queued for routers and endhosts.
    pub(super) fn flush_upstream<B: AsRef<[u8]>>(
        &mut self,
        queue: &mut SendQueue<B>,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        match &mut self.upstream {
            Some(upstream) => upstream.flush(&self.poll, queue, now, done),
            None => Ok(()),
        }
    }

    /// Reads the kernel's drop counters, with one system call per socket.
    pub(super) fn count_kernel_drops(&self, counters: &mut Counters) {
        let drops = |kind: fn(&ListenerSockets) -> Option<&PolledSocket>| {
            self.listeners
                .iter()
                .filter_map(kind)
                .map(|polled| polled.socket.kernel_drops())
                .sum()
        };
        counters.kernel_drops_data = drops(|listener| Some(&listener.data));
        counters.kernel_drops_handshake = drops(|listener| listener.handshake.as_ref());
        counters.kernel_drops_mixed = drops(|listener| listener.mixed.as_ref());
        counters.kernel_drops_upstream = self
            .upstream
            .as_ref()
            .map_or(0, |upstream| upstream.socket.kernel_drops());
        counters.kernel_drops_garbage = self.garbage.iter().map(GarbageSocket::drops).sum();
    }
}

/// A socket with its state for edge-triggered polling: once reported, a socket counts as readable until a receive finds
/// it empty.
pub(super) struct PolledSocket {
    socket: ShardSocket,
    /// Name in errors.
    name: &'static str,
    token: Token,
    readable: bool,
    /// The send buffer was full, and the poll has not reported it as writable since.
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

    /// Returns true if there may be something to receive.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
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

    fn flush<B: AsRef<[u8]>>(
        &mut self,
        poll: &Poll,
        queue: &mut SendQueue<B>,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        if self.blocked || queue.is_empty() {
            return Ok(());
        }
        if let Flush::Blocked = queue.flush(&self.socket, now, done) {
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

    /// Asks for writability only while the buffer is full: otherwise every datagram that leaves the buffer would wake
    /// the worker.
    fn set_interest(&self, poll: &Poll, interest: Interest) -> io::Result<()> {
        poll.registry().reregister(
            &mut SourceFd(&self.socket.as_raw_fd()),
            self.token,
            interest,
        )
    }
}

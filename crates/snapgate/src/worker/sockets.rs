//! The sockets of one worker and their readiness.

use std::io;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry, Token};
use udp_shards::{GarbageSocket, SendError, ShardSocket};

use crate::counters::Counters;
use crate::worker::listener_queues::ListenerQueues;
use crate::worker::polled_socket::{PolledSocket, SEND_BUFFER_START};

/// Token of the waker of the worker's mailbox.
pub(crate) const MAILBOX: Token = Token(0);
const FIRST_LISTENER: usize = 1;

/// Token of the first lane; those of listeners are smaller.
const FIRST_LANE: usize = usize::MAX / 2;

/// Tokens of one listener: its data, its handshake and its mixed socket.
const TOKENS_PER_LISTENER: usize = 3;

/// Events taken from one poll; further sockets are reported by the next one.
const EVENTS: usize = 64;

/// Returns the token of a lane.
pub(super) fn lane_token(lane: usize) -> Token {
    Token(FIRST_LANE + lane)
}

/// The poll of a worker and its sockets for tunnels.
pub(crate) struct Sockets {
    poll: Poll,
    events: Events,
    /// By index of the listener.
    pub(super) listeners: Vec<ListenerSockets>,
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
        let register = |socket, kind, name| {
            let token = Token(first + kind);
            PolledSocket::register(poll.registry(), socket, token, name, SEND_BUFFER_START)
        };
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
        garbage: Vec<GarbageSocket>,
    ) -> io::Result<Self> {
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
            garbage,
        })
    }

    /// Returns the registry of the poll.
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Sleeps until a socket or the mailbox is ready, at most for `timeout`. `note_lane` gets the events of lanes.
    pub(super) fn wait(
        &mut self,
        timeout: Duration,
        mut note_lane: impl FnMut(usize, &Event) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let socket = match event.token() {
                MAILBOX => None,
                Token(token) if token >= FIRST_LANE => {
                    note_lane(token - FIRST_LANE, event)?;
                    None
                }
                Token(token) => {
                    let token = token - FIRST_LISTENER;
                    self.listeners
                        .get_mut(token / TOKENS_PER_LISTENER)
                        .and_then(|listener| listener.by_token(token % TOKENS_PER_LISTENER))
                }
            };
            if let Some(socket) = socket {
                socket.note(self.poll.registry(), event)?;
            }
        }
        Ok(())
    }

    /// Returns true if any socket for tunnels may have something to receive.
    pub(super) fn is_readable(&self) -> bool {
        let is_readable =
            |socket: &Option<PolledSocket>| socket.as_ref().is_some_and(PolledSocket::is_readable);
        self.listeners.iter().any(|listener| {
            listener.data.is_readable()
                || is_readable(&listener.handshake)
                || is_readable(&listener.mixed)
        })
    }

    /// Sends the datagrams queued for the tunnels of `listener`, and for other addresses.
    pub(super) fn flush_listener<B: AsRef<[u8]>>(
        &mut self,
        listener: usize,
        queues: &mut ListenerQueues<B>,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        let registry = self.poll.registry();
        let sockets = &mut self.listeners[listener];
        sockets
            .data
            .flush(registry, &mut queues.clients, now, done)?;
        if let Some(queues) = &mut queues.others {
            if let Some(handshake) = &mut sockets.handshake {
                handshake.flush(registry, &mut queues.newcomers, now, done)?;
            }
            if let Some(mixed) = &mut sockets.mixed {
                mixed.flush(registry, &mut queues.silent_clients, now, done)?;
            }
        }
        Ok(())
    }

    /// Reads the kernel's drop counters, with one system call per socket.
    pub(super) fn count_kernel_drops(&self, counters: &mut Counters) {
        let drops = |kind: fn(&ListenerSockets) -> Option<&PolledSocket>| {
            self.listeners
                .iter()
                .filter_map(kind)
                .map(PolledSocket::kernel_drops)
                .sum()
        };
        counters.kernel_drops_data = drops(|listener| Some(&listener.data));
        counters.kernel_drops_handshake = drops(|listener| listener.handshake.as_ref());
        counters.kernel_drops_mixed = drops(|listener| listener.mixed.as_ref());
        counters.kernel_drops_garbage = self.garbage.iter().map(GarbageSocket::drops).sum();
    }
}

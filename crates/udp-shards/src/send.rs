//! A bounded queue of datagrams that leave in trains.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};

use crate::ShardSocket;

/// Datagrams that wait to be sent, gathered into trains.
#[derive(Debug)]
pub struct SendQueue<B> {
    datagrams: PhantomData<B>,
}

impl<B: AsRef<[u8]>> SendQueue<B> {
    /// A queue of at most `datagrams` datagrams and `bytes` bytes.
    #[must_use]
    pub fn with_limits(datagrams: usize, bytes: usize) -> Self {
        let _ = (datagrams, bytes);
        Self {
            datagrams: PhantomData,
        }
    }

    /// Datagrams in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Bytes in the queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        0
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a datagram for `to`; `from_ip` is the source address on a wildcard socket.
    ///
    /// # Errors
    ///
    /// Gives the datagram back when the queue is full.
    pub fn push(&mut self, to: SocketAddr, from_ip: Option<IpAddr>, datagram: B) -> Result<(), B> {
        let _ = (to, from_ip);
        Err(datagram)
    }

    /// Sends what is queued, as far as the socket takes it. `done` is called exactly once per
    /// datagram, with its outcome; datagrams that stay queued are called later.
    pub fn flush(
        &mut self,
        socket: &ShardSocket,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> Flush {
        let _ = (socket, done);
        todo!()
    }
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// Nothing.
    Empty,
    /// The socket's send buffer is full: flush again when the socket is writable.
    Blocked,
}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Larger than what the route takes (EMSGSIZE).
    MessageTooLong,
    /// No route or nobody there (ENETUNREACH, EHOSTUNREACH, ECONNREFUSED).
    Unreachable,
    /// A firewall rule refused it (EPERM, EACCES).
    NotPermitted,
    /// The network device's queue is full (ENOBUFS, ENOMEM).
    NoBuffers,
    /// Any other error.
    Other,
}

impl SendError {
    /// All of them; `ALL[error.index()] == error`.
    pub const ALL: [Self; 5] = [
        Self::MessageTooLong,
        Self::Unreachable,
        Self::NotPermitted,
        Self::NoBuffers,
        Self::Other,
    ];

    /// The position in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// A name in snake case, for a metrics label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageTooLong => "message_too_long",
            Self::Unreachable => "unreachable",
            Self::NotPermitted => "not_permitted",
            Self::NoBuffers => "no_buffers",
            Self::Other => "other",
        }
    }
}

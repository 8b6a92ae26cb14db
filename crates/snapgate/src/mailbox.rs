//! Messages between workers: one bounded mailbox per worker.
//!
//! In the steady state only hairpins use it. A full mailbox never blocks the sender: the message is returned, and its
//! packets are dropped and counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ana_gotatun::packet::Packet;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use snaptun::Move;
use udp_shards::Received;

/// Maximum number of messages in a mailbox.
const MAILBOX_MESSAGES: usize = 4096;

/// Number of a worker's tunnels that carried data recently.
pub(crate) struct ActiveTunnels {
    pub(crate) worker: usize,
    pub(crate) tunnels: usize,
}

/// A message to a worker.
pub(crate) enum Message {
    /// A train from a tunnel socket whose remote address the receiving worker owns.
    Incoming {
        /// Index of the listener that the train arrived at.
        listener: u16,
        train: Received,
    },
    /// A packet from SCION for a tunnel that the receiving worker owns.
    Outgoing { to: SocketAddr, packet: Packet },
    /// A packet from another worker's tunnel for a tunnel that the receiving worker owns.
    Hairpin { to: SocketAddr, packet: Packet },
    /// An identity uses a new tunnel of another worker.
    Moved(Move),
    /// Create no new tunnels, and report the number of tunnels that carried data less than `idle_after` ago.
    Drain {
        idle_after: Duration,
        answer: Sender<ActiveTunnels>,
    },
    /// Addresses and identities of the previous process's tunnels that the receiving worker owns.
    Remember(Vec<(SocketAddr, [u8; 32])>),
    /// Stop after this turn.
    Stop,
}

impl Message {
    /// Returns the number of datagrams in the message.
    pub(crate) fn packets(&self) -> u64 {
        match self {
            Self::Incoming { train, .. } => train.datagram_count() as u64,
            Self::Outgoing { .. } | Self::Hairpin { .. } => 1,
            Self::Moved(_) | Self::Remember(_) | Self::Drain { .. } | Self::Stop => 0,
        }
    }
}

/// The receiving end of a mailbox, owned by one worker.
pub(crate) struct Mailbox {
    messages: Receiver<Message>,
}

impl Mailbox {
    /// Takes the next message, if there is one.
    ///
    /// Returns [`Message::Stop`] when the gateway is gone.
    pub(crate) fn take(&self) -> Option<Message> {
        match self.messages.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Message::Stop),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the number of packets left, after all senders have stopped.
    pub(crate) fn packets_left(self) -> u64 {
        self.messages
            .try_iter()
            .map(|message| message.packets())
            .sum()
    }
}

/// The sending end of a worker's mailbox, held by every other worker and by the gateway.
#[derive(Clone)]
pub(crate) struct Postbox {
    messages: Sender<Message>,
    waker: Arc<mio::Waker>,
    /// True if messages were put in since the worker was last woken.
    unannounced: bool,
}

impl Postbox {
    /// Puts a message in; [`Postbox::wake`] announces it. Returns the message if the mailbox is full or closed.
    pub(crate) fn put(&mut self, message: Message) -> Result<(), Message> {
        match self.messages.try_send(message) {
            Ok(()) => {
                self.unannounced = true;
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => Err(message),
        }
    }

    /// Wakes the worker if messages were put in since the last call. Called once per batch, because each wake is a
    /// system call.
    pub(crate) fn wake(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unannounced) {
            self.waker.wake()?;
        }
        Ok(())
    }

    /// Puts a message in, waiting for room, and wakes the worker. Returns false if the worker is gone. Not for workers,
    /// which never wait for each other.
    pub(crate) fn deliver(&self, message: Message) -> bool {
        self.messages.send(message).is_ok() && self.waker.wake().is_ok()
    }
}

/// Creates a mailbox and its sending end; `waker` belongs to the poll of the worker that reads it.
pub(crate) fn mailbox(waker: mio::Waker) -> (Postbox, Mailbox) {
    let (sender, receiver) = crossbeam_channel::bounded(MAILBOX_MESSAGES);
    let postbox = Postbox {
        messages: sender,
        waker: Arc::new(waker),
        unannounced: false,
    };
    (postbox, Mailbox { messages: receiver })
}

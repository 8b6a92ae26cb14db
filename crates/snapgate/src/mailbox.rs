//! How workers hand packets to each other: one bounded mailbox per worker.
//!
//! In the steady state nothing but hairpins comes through here. A full mailbox never blocks the
//! sender: the message comes back, and its packets are dropped and counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ana_gotatun::packet::Packet;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use snaptun::Move;
use udp_shards::Received;

/// Messages a mailbox holds before senders are refused.
const MAILBOX_MESSAGES: usize = 4096;

/// How many tunnels of a worker carried data lately.
pub(crate) struct TalkingTunnels {
    pub(crate) worker: usize,
    pub(crate) tunnels: usize,
}

/// What one worker tells another.
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
    /// Make no new tunnels any more, and say in how many data passed less than `idle_after` ago.
    Drain {
        idle_after: Duration,
        answer: Sender<TalkingTunnels>,
    },
    /// Addresses and identities of tunnels that the process before had and the receiving worker owns.
    Remember(Vec<(SocketAddr, [u8; 32])>),
    /// Stop after this turn.
    Stop,
}

impl Message {
    /// How many datagrams are in it.
    pub(crate) fn packets(&self) -> u64 {
        match self {
            Self::Incoming { train, .. } => train.datagram_count() as u64,
            Self::Outgoing { .. } | Self::Hairpin { .. } => 1,
            Self::Moved(_) | Self::Remember(_) | Self::Drain { .. } | Self::Stop => 0,
        }
    }
}

/// The receiving end, owned by one worker.
pub(crate) struct Mailbox {
    messages: Receiver<Message>,
}

impl Mailbox {
    /// The next message, if there is one.
    ///
    /// A mailbox whose gateway is gone answers [`Message::Stop`].
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

    /// How many packets are left in it. For when nobody puts in any more.
    pub(crate) fn packets_left(self) -> u64 {
        self.messages
            .try_iter()
            .map(|message| message.packets())
            .sum()
    }
}

/// The sending end of a worker's mailbox; each other worker has one, and so has the gateway.
#[derive(Clone)]
pub(crate) struct Postbox {
    messages: Sender<Message>,
    waker: Arc<mio::Waker>,
    /// Messages were put in since the worker was last woken.
    unannounced: bool,
}

impl Postbox {
    /// Puts a message in, to be announced by [`Postbox::wake`].
    pub(crate) fn put(&mut self, message: Message) -> Result<(), Message> {
        match self.messages.try_send(message) {
            Ok(()) => {
                self.unannounced = true;
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => Err(message),
        }
    }

    /// Wakes the worker if anything was put in since the last call: once per batch, because each
    /// wake is a system call.
    pub(crate) fn wake(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unannounced) {
            self.waker.wake()?;
        }
        Ok(())
    }

    /// Puts a message in, waiting for room, and wakes the worker. Not for workers, which never
    /// wait for each other. False when the worker is gone.
    pub(crate) fn deliver(&self, message: Message) -> bool {
        self.messages.send(message).is_ok() && self.waker.wake().is_ok()
    }
}

/// A mailbox and its sending end; `waker` belongs to the poll of the worker that reads it.
pub(crate) fn mailbox(waker: mio::Waker) -> (Postbox, Mailbox) {
    let (sender, receiver) = crossbeam_channel::bounded(MAILBOX_MESSAGES);
    let postbox = Postbox {
        messages: sender,
        waker: Arc::new(waker),
        unannounced: false,
    };
    (postbox, Mailbox { messages: receiver })
}

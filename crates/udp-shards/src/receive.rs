//! Receiving trains in batches.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

/// Room for a number of trains, reused from call to call.
#[derive(Debug)]
pub struct ReceiveBatch {
    slots: usize,
}

impl ReceiveBatch {
    /// Room for `slots` trains (or single datagrams) per call.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots }
    }

    /// Trains received and not yet taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots
    }

    /// Whether all received trains were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next train.
    pub fn next_train(&mut self) -> Option<Received> {
        todo!()
    }

    /// Takes all trains, in the order in which they arrived.
    pub fn drain(&mut self) -> impl Iterator<Item = Received> + '_ {
        std::iter::from_fn(|| self.next_train())
    }
}

/// One or more datagrams of one flow, as the kernel delivered them.
#[derive(Debug)]
pub struct Received {
    /// Who sent them.
    pub from: SocketAddr,
    /// The local address they were sent to; `Some` only on a wildcard socket.
    pub local_ip: Option<IpAddr>,
    /// All datagrams, one after the other.
    pub buffer: BytesMut,
    /// The size of each datagram in bytes; the last one may be shorter. 0 for an empty datagram.
    pub segment_size: usize,
    /// The last datagram was larger than the slot, and its end is lost.
    pub truncated: bool,
}

impl Received {
    /// How many datagrams there are, at least 1.
    #[must_use]
    pub fn datagram_count(&self) -> usize {
        todo!()
    }

    /// Splits the train into its datagrams, without copying.
    pub fn into_datagrams(self) -> Datagrams {
        todo!()
    }
}

/// The datagrams of a train, see [`Received::into_datagrams`].
#[derive(Debug)]
pub struct Datagrams {
    rest: BytesMut,
}

impl Iterator for Datagrams {
    type Item = BytesMut;

    fn next(&mut self) -> Option<BytesMut> {
        let _ = &self.rest;
        todo!()
    }
}

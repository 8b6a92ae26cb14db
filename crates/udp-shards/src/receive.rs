//! Receiving trains in batches, without copying.
//!
//! The kernel writes each train into a slot, and the train leaves as a [`BytesMut`] that owns its
//! part of the slot's memory. A slot has a block of several times the largest train: single
//! datagrams fill it one after the other, and it is used from the start again as soon as nobody
//! holds a piece of it, so memory that is in a processor's cache is written again.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use bytes::BytesMut;

use crate::sys::recvmmsg::ReceiveSlots;

/// The most that one receive can return: a UDP datagram, or a train of them that GRO joined, is
/// less than 64 KiB. A smaller slot would cut trains.
const SLOT_BYTES: usize = 64 * 1024;

/// The memory of a slot, in slots: what a block holds before another is needed while its trains are
/// in use.
const BLOCK_SLOTS: usize = 4;

/// Room for a number of trains, reused from call to call.
#[derive(Debug)]
pub struct ReceiveBatch {
    slots: ReceiveSlots,
    blocks: Blocks,
}

impl ReceiveBatch {
    /// Room for `slots` trains (or single datagrams) per call. Reserves 256 KiB of address space
    /// per slot; memory is used as far as datagrams fill it.
    ///
    /// A train that is kept keeps the block it lies in, so copy what must wait for long.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self::with_slot_bytes(slots, SLOT_BYTES)
    }

    fn with_slot_bytes(slots: usize, slot_bytes: usize) -> Self {
        let blocks = Blocks {
            busy: VecDeque::new(),
            busy_max: slots,
            slot_bytes,
            block_bytes: slot_bytes * BLOCK_SLOTS,
        };
        let buffers = (0..slots)
            .map(|_| BytesMut::with_capacity(blocks.block_bytes))
            .collect();
        Self {
            slots: ReceiveSlots::new(buffers, slot_bytes),
            blocks,
        }
    }

    /// Receives as [`crate::ShardSocket::receive`] documents.
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        if !self.is_empty() {
            return Ok(self.len());
        }
        loop {
            match self
                .slots
                .receive(socket, |buffer| self.blocks.renew(buffer))
            {
                Err(error) if is_about_something_else(&error) => {}
                answer => return answer,
            }
        }
    }

    /// Trains received and not yet taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether all received trains were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next train.
    pub fn next_train(&mut self) -> Option<Received> {
        self.slots.next_train()
    }

    /// Takes all trains, in the order in which they arrived.
    pub fn drain(&mut self) -> impl Iterator<Item = Received> + '_ {
        std::iter::from_fn(|| self.next_train())
    }
}

/// Whether a failed receive says nothing about what is queued: a signal came, or an ICMP message
/// answered a datagram sent earlier from a connected socket. The kernel reports each of those once.
fn is_about_something_else(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINTR
                | libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EMSGSIZE
        )
    )
}

/// Memory for slots.
#[derive(Debug)]
struct Blocks {
    /// Blocks that were full while pieces of them were in use, oldest first.
    busy: VecDeque<BytesMut>,
    busy_max: usize,
    slot_bytes: usize,
    block_bytes: usize,
}

impl Blocks {
    /// Leaves an empty buffer with room for a slot's bytes.
    fn renew(&mut self, buffer: &mut BytesMut) {
        // Nobody holds a piece of the block: start over.
        if buffer.try_reclaim(self.block_bytes) {
            return;
        }
        if buffer.capacity() >= self.slot_bytes {
            return;
        }
        let fresh = self
            .reuse()
            .unwrap_or_else(|| BytesMut::with_capacity(self.block_bytes));
        let full = std::mem::replace(buffer, fresh);
        // Beyond the limit, its last user frees it.
        if self.busy.len() < self.busy_max {
            self.busy.push_back(full);
        }
    }

    fn reuse(&mut self) -> Option<BytesMut> {
        let mut oldest = self.busy.pop_front()?;
        if oldest.try_reclaim(self.block_bytes) {
            return Some(oldest);
        }
        // Ask for another one next time.
        self.busy.push_back(oldest);
        None
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
    /// The buffer was too small, and the end of the train is lost.
    pub truncated: bool,
}

impl Received {
    /// How many datagrams there are, at least 1.
    #[must_use]
    pub fn datagram_count(&self) -> usize {
        self.buffer
            .len()
            .checked_div(self.segment_size)
            .map_or(1, |whole| {
                let rest = usize::from(whole * self.segment_size < self.buffer.len());
                (whole + rest).max(1)
            })
    }

    /// Splits the train into its datagrams, without copying.
    #[must_use]
    pub fn into_datagrams(self) -> Datagrams {
        Datagrams {
            segment_size: self.segment_size,
            rest: Some(self.buffer),
        }
    }
}

/// The datagrams of a train, see [`Received::into_datagrams`].
#[derive(Debug)]
pub struct Datagrams {
    segment_size: usize,
    rest: Option<BytesMut>,
}

impl Iterator for Datagrams {
    type Item = BytesMut;

    #[inline]
    fn next(&mut self) -> Option<BytesMut> {
        let rest = self.rest.as_mut()?;
        if self.segment_size == 0 || rest.len() <= self.segment_size {
            return self.rest.take();
        }
        Some(rest.split_to(self.segment_size))
    }
}

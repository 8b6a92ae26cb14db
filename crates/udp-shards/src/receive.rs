//! Receiving trains in batches, without copying.
//!
//! The kernel writes each train into a slot, and the caller gets it as a [`BytesMut`] that owns its
//! part of the slot's memory. A slot has a block several times as large as the largest train: single
//! datagrams fill it one after the other, and it is reused from the start once all its pieces are
//! dropped, so that memory in the processor's cache is written again.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use bytes::BytesMut;

use crate::Received;
use crate::sys::recvmmsg::ReceiveSlots;

/// Size of a slot: a UDP datagram or a train that GRO joined is less than 64 KiB. A smaller slot would
/// truncate trains.
const SLOT_BYTES: usize = 64 * 1024;

/// Size of a block, in slots. Another block is needed when this one is full and trains in it are still in use.
const BLOCK_SLOTS: usize = 4;

/// A reusable buffer for the trains of one [`ShardSocket::receive`](crate::ShardSocket::receive) call. One batch serves
/// all sockets of a thread. Trains that are still in it when it is dropped are lost.
///
/// ```
/// # use udp_shards::{ReceiveBatch, SocketOptions, bind_client_socket};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = bind_client_socket("127.0.0.1:0".parse()?, &SocketOptions::default())?;
/// std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", socket.local_addr())?;
///
/// let mut batch = ReceiveBatch::new(32);
/// assert_eq!(socket.receive(&mut batch)?, 1);
/// for train in batch.drain() {
///     for datagram in train.into_datagrams() {
///         assert_eq!(&datagram[..], b"hello");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReceiveBatch {
    slots: ReceiveSlots,
    blocks: Blocks,
}

impl ReceiveBatch {
    /// Creates a batch of `slots` trains (or single datagrams) per call. Reserves 256 KiB of address
    /// space per slot; memory is used as far as datagrams fill it.
    ///
    /// With 0 slots nothing is ever received: each call returns `Ok(0)`.
    ///
    /// A received train keeps its whole block (256 KiB) allocated, so copy datagrams that are stored for long.
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

    /// Implements [`crate::ShardSocket::receive`].
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        if !self.is_empty() {
            return Ok(self.len());
        }
        loop {
            match self
                .slots
                .receive(socket, |buffer| self.blocks.renew(buffer))
            {
                Err(error) if is_transient(&error) => {}
                answer => return answer,
            }
        }
    }

    /// Returns the number of trains that are received and not yet taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns true if all received trains are taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes and returns the next train.
    pub fn next_train(&mut self) -> Option<Received> {
        self.slots.next_train()
    }

    /// Removes all trains, in order of arrival. Trains that the iterator did not return stay in the batch.
    pub fn drain(&mut self) -> impl Iterator<Item = Received> + '_ {
        std::iter::from_fn(|| self.next_train())
    }
}

/// Returns true if a failed receive says nothing about the queue: a signal interrupted it, or an ICMP
/// message answered an earlier datagram of a connected socket. The kernel reports each of these once.
fn is_transient(error: &io::Error) -> bool {
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

/// The blocks of all slots.
#[derive(Debug)]
struct Blocks {
    /// Full blocks with pieces still in use, oldest first.
    busy: VecDeque<BytesMut>,
    busy_max: usize,
    slot_bytes: usize,
    block_bytes: usize,
}

impl Blocks {
    /// Makes `buffer` an empty buffer with room for a slot's bytes. Returns true if it is at the start
    /// of its block.
    fn renew(&mut self, buffer: &mut BytesMut) -> bool {
        // All pieces of the block are dropped: start over.
        if buffer.try_reclaim(self.block_bytes) {
            return true;
        }
        if buffer.capacity() >= self.slot_bytes {
            return false;
        }
        let fresh = self
            .reuse()
            .unwrap_or_else(|| BytesMut::with_capacity(self.block_bytes));
        let full = std::mem::replace(buffer, fresh);
        // Beyond the limit, dropping its last piece frees it.
        if self.busy.len() < self.busy_max {
            self.busy.push_back(full);
        }
        true
    }

    fn reuse(&mut self) -> Option<BytesMut> {
        let mut oldest = self.busy.pop_front()?;
        if oldest.try_reclaim(self.block_bytes) {
            return Some(oldest);
        }
        // Try the next one at the next call.
        self.busy.push_back(oldest);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn sockets() -> (UdpSocket, UdpSocket) {
        let [sender, receiver] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        receiver.set_nonblocking(true).unwrap();
        (sender, receiver)
    }

    #[test]
    fn a_datagram_larger_than_the_slot_is_reported_as_truncated() {
        let (sender, receiver) = sockets();
        let mut batch = ReceiveBatch::with_slot_bytes(2, 1000);
        for size in [1001, 1000] {
            sender.send(&vec![7; size]).unwrap();
        }
        assert_eq!(batch.receive(&receiver).unwrap(), 2);
        let seen: Vec<(usize, bool)> = batch
            .drain()
            .map(|received| (received.buffer.len(), received.truncated))
            .collect();
        assert_eq!(seen, [(1000, true), (1000, false)]);
    }

    #[test]
    fn a_full_block_is_reused_once_its_pieces_are_dropped() {
        let (sender, receiver) = sockets();
        let mut batch = ReceiveBatch::with_slot_bytes(1, 1000);
        let mut receive = || {
            sender.send(&[7; 1000]).unwrap();
            batch.receive(&receiver).unwrap();
            batch.next_train().unwrap().buffer
        };
        let mut kept: Vec<BytesMut> = (0..BLOCK_SLOTS).map(|_| receive()).collect();
        let block = kept[0].as_ptr_range().start..kept[BLOCK_SLOTS - 1].as_ptr_range().end;
        assert_eq!(block.end.addr() - block.start.addr(), BLOCK_SLOTS * 1000);

        // The second block is filled while the first is in use; then the first is used again.
        let second: Vec<BytesMut> = (0..BLOCK_SLOTS).map(|_| receive()).collect();
        assert!(
            second
                .iter()
                .all(|buffer| !block.contains(&buffer.as_ptr()))
        );
        kept.clear();
        assert_eq!(receive().as_ptr(), block.start);
    }
}

//! Sending and receiving of single GSO and GRO trains.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd as _;

use udp_shards::{Flush, ReceiveBatch, Received, SendQueue, ShardSocket};

/// Maximum number of datagrams in a train (`UDP_MAX_SEGMENTS` before Linux 6.9).
const TRAIN_DATAGRAMS_MAX: usize = 64;

/// Sends `datagrams` as one GSO train (UDP_SEGMENT), in this order.
///
/// # Panics
///
/// If the datagrams do not fit into one train (at most 64 datagrams and 64 KiB; all of the same length, of which only
/// the last may be shorter), or the kernel rejects the train.
pub fn send_train(socket: &ShardSocket, to: SocketAddr, datagrams: &[impl AsRef<[u8]>]) {
    let (last, others) = datagrams.split_last().expect("a datagram");
    let length = datagrams[0].as_ref().len();
    assert!(
        others
            .iter()
            .all(|datagram| datagram.as_ref().len() == length)
            && last.as_ref().len() <= length
            && length > 0
            && datagrams.len() <= TRAIN_DATAGRAMS_MAX
            && socket.is_gso_enabled(),
        "not one train: lengths {:?}",
        datagrams
            .iter()
            .map(|datagram| datagram.as_ref().len())
            .collect::<Vec<_>>()
    );
    let bytes = datagrams.len() * length;
    let mut queue = SendQueue::with_limits(datagrams.len(), bytes);
    for datagram in datagrams {
        queue.push(to, None, datagram.as_ref()).expect("room");
    }
    loop {
        let flush = queue.flush(socket, Instant::now(), &mut |_, outcome| {
            assert_eq!(outcome, Ok(()), "the kernel rejected the train");
        });
        match flush {
            Flush::Empty => break,
            Flush::Blocked => wait_for(socket, PollFlags::POLLOUT, None),
        }
    }
    let refused = queue.destinations_without_gso(Instant::now());
    assert_eq!(refused, 0, "the kernel rejected GSO");
}

/// Receives the datagrams of the next train or a single datagram. Returns `None` after `deadline`; without a deadline,
/// at once if nothing has arrived.
#[must_use]
pub fn receive_train(socket: &ShardSocket, deadline: Option<Instant>) -> Option<Vec<Vec<u8>>> {
    let train = receive(socket, deadline)?;
    Some(train.into_datagrams().map(|one| one.to_vec()).collect())
}

/// [`receive_train`] with the sender's address.
pub(crate) fn receive(socket: &ShardSocket, deadline: Option<Instant>) -> Option<Received> {
    let mut batch = ReceiveBatch::new(1);
    loop {
        match socket.receive(&mut batch) {
            Ok(_) => return batch.next_train(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let deadline = deadline.filter(|deadline| Instant::now() < *deadline)?;
                wait_for(socket, PollFlags::POLLIN, Some(deadline));
            }
            Err(error) => panic!("receive: {error}"),
        }
    }
}

/// Waits until the socket is ready or the deadline has passed.
fn wait_for(socket: &ShardSocket, events: PollFlags, deadline: Option<Instant>) {
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the caller does not spin through the last millisecond.
        PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    });
    // After an interruption the caller's loop polls again.
    let _ = poll(&mut [PollFd::new(socket.as_fd(), events)], timeout);
}

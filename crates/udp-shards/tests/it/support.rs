//! Helpers for waiting, sending and receiving.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use udp_shards::{
    DispatchKey, Flush, ReceiveBatch, Received, SendError, SendQueue, ShardSocket, SocketOptions,
    bind_client_socket,
};

/// Timeout of every wait; no passing test reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const KEY: DispatchKey = DispatchKey::from_words([0x243f_6a88, 0x85a3_08d3]);

pub(crate) fn workers(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Buffers larger than needed: the tests also pass with the default limits of Linux.
pub(crate) fn options() -> SocketOptions {
    SocketOptions {
        receive_buffer_bytes: 4 * 1024 * 1024,
        send_buffer_bytes: 4 * 1024 * 1024,
        ..SocketOptions::default()
    }
}

pub(crate) fn client(local: &str) -> ShardSocket {
    bind_client_socket(local.parse().unwrap(), &options()).unwrap()
}

/// A train and the index of the socket that received it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: usize,
    pub(crate) received: Received,
}

/// Receives from all sockets until `wanted` datagrams have arrived.
pub(crate) fn receive_datagrams(sockets: &[&ShardSocket], wanted: usize) -> Vec<Arrival> {
    let mut poll = Poll::new().unwrap();
    for (index, socket) in sockets.iter().enumerate() {
        let mut source = SourceFd(&socket.as_raw_fd());
        poll.registry()
            .register(&mut source, Token(index), Interest::READABLE)
            .unwrap();
    }
    let mut events = Events::with_capacity(sockets.len());
    let mut batch = ReceiveBatch::new(16);
    let mut arrivals = Vec::new();
    let mut datagrams = 0;
    while datagrams < wanted {
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(
            !events.is_empty(),
            "{datagrams} of {wanted} datagrams arrived"
        );
        for event in &events {
            let socket = event.token().0;
            while sockets[socket].receive(&mut batch).is_ok() {
                for received in batch.drain() {
                    datagrams += received.datagram_count();
                    arrivals.push(Arrival { socket, received });
                }
            }
        }
    }
    assert_eq!(datagrams, wanted, "as many datagrams as were sent");
    arrivals
}

/// Returns true if no datagram is queued on the socket.
pub(crate) fn is_silent(socket: &ShardSocket) -> bool {
    let error = socket
        .receive(&mut ReceiveBatch::new(1))
        .map_err(|error| error.kind());
    error == Err(std::io::ErrorKind::WouldBlock)
}

pub(crate) fn wait_writable(socket: &ShardSocket) {
    let mut poll = Poll::new().unwrap();
    let mut source = SourceFd(&socket.as_raw_fd());
    poll.registry()
        .register(&mut source, Token(0), Interest::WRITABLE)
        .unwrap();
    let mut events = Events::with_capacity(1);
    poll.poll(&mut events, Some(PATIENCE)).unwrap();
    assert!(!events.is_empty(), "the socket became writable");
}

/// Sends the whole queue, and returns the outcomes in the reported order.
pub(crate) fn flush<B: AsRef<[u8]>>(
    queue: &mut SendQueue<B>,
    socket: &ShardSocket,
) -> Vec<(B, Result<(), SendError>)> {
    let mut outcomes = Vec::new();
    loop {
        match queue.flush(socket, Instant::now(), &mut |datagram, outcome| {
            outcomes.push((datagram, outcome));
        }) {
            Flush::Empty => return outcomes,
            Flush::Blocked => wait_writable(socket),
        }
    }
}

/// Sends datagrams to one destination, and asserts that all are accepted.
pub(crate) fn send(
    socket: &ShardSocket,
    to: SocketAddr,
    from_ip: Option<IpAddr>,
    datagrams: impl IntoIterator<Item = Vec<u8>>,
) {
    let mut queue = SendQueue::with_limits(usize::MAX, usize::MAX);
    for datagram in datagrams {
        queue.push(to, from_ip, datagram).unwrap();
    }
    for (_, outcome) in flush(&mut queue, socket) {
        assert_eq!(outcome, Ok(()));
    }
}

/// Returns a SNAPtun message: type, zeros, and a number at offset 8.
pub(crate) fn message(message_type: u8, bytes: usize, number: u32) -> Vec<u8> {
    let mut message = vec![0; bytes];
    message[0] = message_type;
    message[8..12].copy_from_slice(&number.to_be_bytes());
    message
}

/// Returns the number in a [`message`].
pub(crate) fn number_of(message: &[u8]) -> u32 {
    u32::from_be_bytes(*message[8..].first_chunk().unwrap())
}

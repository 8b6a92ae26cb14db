//! Socket of the attacker, with a queue of datagrams to the gateway.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use udp_shards::{Flush, ReceiveBatch, SendQueue, ShardSocket, SocketOptions, bind_client_socket};

use super::attacker::Tally;
use crate::StepError;

pub(crate) struct Sender {
    gateway: SocketAddr,
    socket: ShardSocket,
    queue: SendQueue<Bytes>,
    capacity: usize,
    answers: ReceiveBatch,
}

impl Sender {
    /// Opens a socket at a free port of the wildcard address.
    pub(crate) fn new(
        gateway: SocketAddr,
        capacity: usize,
        options: &SocketOptions,
    ) -> Result<Self, StepError> {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        Ok(Self {
            gateway,
            socket: bind_client_socket(any, options)?,
            queue: SendQueue::with_limits(capacity, usize::MAX),
            capacity,
            answers: ReceiveBatch::new(capacity),
        })
    }

    /// Returns the number of datagrams that fit into the queue.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.queue.len()
    }

    /// Queues a datagram with this source address of the host; with `None` the kernel chooses one.
    pub(crate) fn push(&mut self, from: Option<IpAddr>, datagram: Bytes) {
        // Lost if the queue is full, as in a network.
        let _room = self.queue.push(self.gateway, from, datagram);
    }

    /// Sends the queue as far as the socket buffer has room. If it is full, yields the CPU to other threads.
    pub(crate) fn flush(&mut self, tally: &mut Tally) {
        let flush = self
            .queue
            .flush(&self.socket, Instant::now(), &mut |_, outcome| {
                tally.sent += u64::from(outcome.is_ok());
            });
        if flush == Flush::Blocked {
            let deadline = Instant::now() + Duration::from_micros(50);
            while Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }

    /// Passes the datagrams that came back to `take`, each with its destination address.
    pub(crate) fn receive(
        &mut self,
        mut take: impl FnMut(Option<IpAddr>, BytesMut),
    ) -> io::Result<()> {
        match self.socket.receive(&mut self.answers) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        };
        for train in self.answers.drain() {
            let to = train.local_ip;
            for datagram in train.into_datagrams() {
                take(to, datagram);
            }
        }
        Ok(())
    }
}

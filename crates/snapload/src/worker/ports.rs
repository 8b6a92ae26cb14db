//! Sockets of a thread, with their receive and send queues.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use udp_shards::{Flush, SendError, SendQueue, ShardSocket};

use super::wake_timer::WakeTimer;
use crate::config::{MAX_PACKET_BYTES, MAX_TRAIN};
use crate::error::LoadError;
use crate::report::Counts;

/// Number of events per poll.
const EVENTS_PER_POLL: usize = 1024;

/// Capacity of a send queue in datagrams: a few of the longest trains, and the answers to a batch of handshake
/// messages.
const QUEUE_DATAGRAMS: usize = 4 * MAX_TRAIN as usize;

/// Token of the timer, not used by a port.
const TIMER: Token = Token(usize::MAX);

/// A datagram to send.
pub(super) struct Outgoing {
    pub(super) packet: Packet,
    /// False for handshake messages, keepalives and packets of the warm-up.
    pub(super) is_counted: bool,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        &self.packet
    }
}

/// Recipients of the datagrams at a socket.
pub(super) enum Role {
    /// One tunnel, by its lane. The socket is connected to the gateway.
    Tunnel(usize),
    /// Several tunnels, by the address at which the datagram arrives. The socket is not connected, so datagrams from
    /// other senders arrive too.
    Shared(HashMap<IpAddr, usize, ahash::RandomState>),
    /// A router, which receives SCION packets from the gateway.
    Router,
}

/// A socket with its state.
pub(super) struct Port {
    pub(super) socket: ShardSocket,
    pub(super) role: Role,
    /// Next socket for tunnels of a shared socket that the gateway does not answer.
    pub(super) replacement: Option<usize>,
    /// True if it is in [`Ports::readable`].
    is_readable: bool,
    /// Datagrams that the socket had no room for.
    blocked: Option<SendQueue<Outgoing>>,
}

/// All sockets of a thread, and the poll that watches them.
pub(super) struct Ports {
    ports: Vec<Port>,
    /// Datagrams that the kernel dropped at replaced sockets.
    former_drops: u64,
    poll: Poll,
    events: Events,
    wake_timer: WakeTimer,
    /// Ports that may have datagrams.
    readable: VecDeque<usize>,
    /// Ports with datagrams in [`Port::blocked`].
    blocked: Vec<usize>,
    /// Datagrams for the port `queued_for`.
    queue: SendQueue<Outgoing>,
    queued_for: usize,
    spare_queues: Vec<SendQueue<Outgoing>>,
    /// Number of flushes. Datagrams queued under the same number leave together.
    batch: u64,
}

impl Ports {
    pub(super) fn new() -> Result<Self, LoadError> {
        let poll = Poll::new().map_err(LoadError::io("create a poll"))?;
        let wake_timer =
            WakeTimer::new(poll.registry(), TIMER).map_err(LoadError::io("create a timer"))?;
        Ok(Self {
            ports: Vec::new(),
            former_drops: 0,
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            wake_timer,
            readable: VecDeque::new(),
            blocked: Vec::new(),
            queue: new_queue(),
            queued_for: 0,
            spare_queues: Vec::new(),
            batch: 1,
        })
    }

    /// Adds a socket and returns its index.
    pub(super) fn add(&mut self, socket: ShardSocket, role: Role) -> Result<usize, LoadError> {
        let index = self.ports.len();
        self.register(&socket, index)?;
        self.ports.push(Port {
            socket,
            role,
            replacement: None,
            is_readable: false,
            blocked: None,
        });
        Ok(index)
    }

    /// Replaces a socket. Closing the old one ends its registration.
    pub(super) fn replace(&mut self, index: usize, socket: ShardSocket) -> Result<(), LoadError> {
        self.register(&socket, index)?;
        let former = std::mem::replace(&mut self.ports[index].socket, socket);
        self.former_drops += former.kernel_drops();
        Ok(())
    }

    fn register(&self, socket: &ShardSocket, index: usize) -> Result<(), LoadError> {
        self.poll
            .registry()
            .register(
                &mut SourceFd(&socket.as_raw_fd()),
                Token(index),
                Interest::READABLE,
            )
            .map_err(LoadError::io("watch a socket"))
    }

    pub(super) fn get(&self, port: usize) -> &Port {
        &self.ports[port]
    }

    pub(super) fn get_mut(&mut self, port: usize) -> &mut Port {
        &mut self.ports[port]
    }

    /// Returns the number of datagrams that the kernel dropped at full sockets, including replaced ones.
    pub(super) fn kernel_drops(&self) -> u64 {
        let present = self.ports.iter().map(|port| port.socket.kernel_drops());
        self.former_drops + present.sum::<u64>()
    }

    /// Returns the next port that may have datagrams.
    pub(super) fn next_readable(&mut self) -> Option<usize> {
        self.readable.pop_front()
    }

    /// Notes whether the port read last still has datagrams.
    pub(super) fn note_read(&mut self, port: usize, is_empty: bool) {
        if is_empty {
            self.ports[port].is_readable = false;
        } else {
            self.readable.push_back(port);
        }
    }

    /// Returns true if there may be something to read.
    pub(super) fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Returns true if a socket had no room for datagrams.
    pub(super) fn has_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Returns true if this port had no room for datagrams. New ones are dropped.
    pub(super) fn is_blocked(&self, port: usize) -> bool {
        self.ports[port].blocked.is_some()
    }

    /// Returns the number of the current batch.
    pub(super) fn batch(&self) -> u64 {
        self.batch
    }

    /// Queues a datagram, or drops it if the port is blocked, which can happen in the middle of a train. A datagram for
    /// another port flushes the queue, so queue datagrams port by port.
    pub(super) fn push(
        &mut self,
        port: usize,
        to: SocketAddr,
        from_ip: Option<IpAddr>,
        mut outgoing: Outgoing,
        counts: &mut Counts,
    ) {
        if self.is_blocked(port) {
            return;
        }
        if port != self.queued_for {
            self.flush(counts);
            self.queued_for = port;
        }
        while let Err(returned) = self.queue.push(to, from_ip, outgoing) {
            self.flush(counts);
            if self.is_blocked(port) {
                return;
            }
            outgoing = returned;
        }
    }

    /// Sends the queue. Datagrams that the socket does not accept stay with its port.
    pub(super) fn flush(&mut self, counts: &mut Counts) {
        if self.queue.is_empty() {
            return;
        }
        self.batch += 1;
        let port = &mut self.ports[self.queued_for];
        let flush = self
            .queue
            .flush(&port.socket, Instant::now(), &mut |outgoing, result| {
                count_sent(counts, &outgoing, result);
            });
        if flush == Flush::Blocked {
            let empty = self.spare_queues.pop().unwrap_or_else(new_queue);
            port.blocked = Some(std::mem::replace(&mut self.queue, empty));
            self.blocked.push(self.queued_for);
        }
    }

    /// Retries the datagrams of blocked ports.
    pub(super) fn flush_blocked(&mut self, counts: &mut Counts) {
        let ports = &mut self.ports;
        let spare_queues = &mut self.spare_queues;
        self.blocked.retain(|&port| {
            let port = &mut ports[port];
            let Some(mut queue) = port.blocked.take() else {
                return false;
            };
            let flush = queue.flush(&port.socket, Instant::now(), &mut |outgoing, result| {
                count_sent(counts, &outgoing, result);
            });
            match flush {
                Flush::Blocked => port.blocked = Some(queue),
                Flush::Empty => spare_queues.push(queue),
            }
            flush == Flush::Blocked
        });
    }

    /// Waits for an event for at most `sleep`; does not wait if that is zero. `refused` gets the lanes of tunnels with
    /// an ICMP port unreachable.
    pub(super) fn wait(
        &mut self,
        sleep: Duration,
        mut refused: impl FnMut(usize),
    ) -> Result<(), LoadError> {
        let timeout = if sleep.is_zero() {
            Some(Duration::ZERO)
        } else {
            self.wake_timer
                .set(sleep)
                .map_err(|error| LoadError::io("set a timer")(error.into()))?;
            None
        };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::io("wait for sockets")(error)),
        }
        for event in &self.events {
            let index = event.token().0;
            let Some(port) = self.ports.get_mut(index) else {
                continue;
            };
            if event.is_error()
                && port.take_refusal()
                && let Role::Tunnel(lane) = port.role
            {
                refused(lane);
            }
            if !port.is_readable {
                port.is_readable = true;
                self.readable.push_back(index);
            }
        }
        Ok(())
    }
}

impl Port {
    /// Takes the socket's pending error. Returns true if it is a refused connection (ICMP port unreachable).
    fn take_refusal(&self) -> bool {
        let error = SockRef::from(&self.socket).take_error().ok().flatten();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

fn new_queue() -> SendQueue<Outgoing> {
    SendQueue::with_limits(QUEUE_DATAGRAMS, QUEUE_DATAGRAMS * MAX_PACKET_BYTES)
}

fn count_sent(counts: &mut Counts, outgoing: &Outgoing, result: Result<(), SendError>) {
    match result {
        _ if !outgoing.is_counted => {}
        Ok(()) => counts.sent += 1,
        Err(_) => counts.send_errors += 1,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use bytes::BytesMut;
    use udp_shards::{SocketOptions, bind_client_socket};

    use super::*;

    fn socket() -> ShardSocket {
        let address = "127.0.0.1:0".parse().unwrap();
        bind_client_socket(address, &SocketOptions::default()).unwrap()
    }

    #[test]
    fn datagrams_do_not_overtake_those_of_a_blocked_socket() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let outgoing = |byte| Outgoing {
            packet: Packet::from_bytes(BytesMut::from(&[byte][..])),
            is_counted: true,
        };
        let mut counts = Counts::default();
        let mut ports = Ports::new().unwrap();
        let port = ports.add(socket(), Role::Router).unwrap();
        let mut queue = new_queue();
        assert!(queue.push(to, None, outgoing(1)).is_ok());
        ports.get_mut(port).blocked = Some(queue);
        ports.blocked.push(port);

        ports.push(port, to, None, outgoing(2), &mut counts);
        ports.flush(&mut counts);
        ports.flush_blocked(&mut counts);
        ports.push(port, to, None, outgoing(3), &mut counts);
        ports.flush(&mut counts);
        assert_eq!(counts.sent, 2);
        let mut arrived = [0; 2];
        for byte in &mut arrived {
            receiver.recv(std::slice::from_mut(byte)).unwrap();
        }
        assert_eq!(arrived, [1, 3]);
    }

    #[test]
    fn drops_of_replaced_sockets_are_counted() {
        let mut ports = Ports::new().unwrap();
        let port = ports.add(socket(), Role::Tunnel(0)).unwrap();
        let full = &ports.get(port).socket;
        SockRef::from(full).set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1000], full.local_addr()).unwrap();
        }
        let drops = ports.kernel_drops();
        assert!(drops > 0);
        ports.replace(port, socket()).unwrap();
        assert_eq!(ports.kernel_drops(), drops);
    }
}

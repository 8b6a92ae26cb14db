//! Receiving and sending over loopback, with the two ends on two CPUs, like a gateway and its clients.
//!
//! The ends take turns: a batch is sent, and then all of it is received. The measured end reads its CPU clock around
//! its own calls, which excludes waiting for the other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use udp_shards::{
    Flush, ReceiveBatch, SendError, SendQueue, ShardSocket, SocketOptions, bind_client_socket,
};

use crate::StepError;
use crate::cpu::{self, Placement};

/// Maximum number of datagrams in a batch.
const BATCH_DATAGRAMS: usize = 512;

/// Maximum number of bytes in a batch: several times below the smallest receive buffer, since the kernel also charges
/// its bookkeeping.
const BATCH_BYTES: usize = 1 << 20;

/// Maximum number of trains per receive call, as in a worker.
const TRAINS_PER_RECEIVE: usize = 32;

/// Time limit for the arrival of a batch. Loopback takes microseconds, a busy machine longer.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Traffic between the measured socket and its peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Sizes of the datagrams in bytes, in rotation.
    pub sizes: Vec<usize>,
    /// Number of peer sockets, in rotation.
    pub peers: usize,
    /// Number of consecutive datagrams per peer. They travel as a train if their sizes allow it.
    pub train: usize,
    /// Number of datagrams per send when sending is measured: those that can be gathered into trains.
    pub per_send: usize,
    /// Sends trains as one buffer (UDP_SEGMENT) instead of datagram by datagram.
    pub gso: bool,
}

impl Traffic {
    fn options(&self) -> SocketOptions {
        SocketOptions {
            gso: self.gso,
            ..SocketOptions::default()
        }
    }

    /// Returns the datagrams of a batch: number of the peer, and size in bytes.
    fn batch(&self) -> Vec<(usize, usize)> {
        let per_turn = self.peers * self.train;
        let mean_bytes = self.sizes.iter().sum::<usize>() / self.sizes.len().max(1);
        let mut most = BATCH_DATAGRAMS.min(BATCH_BYTES / mean_bytes.max(1));
        if self.per_send < usize::MAX {
            most = most.max(self.per_send);
        }
        // Whole rotations if they fit, so that all peers have the same weight.
        let count = if per_turn <= most {
            most / per_turn * per_turn
        } else {
            per_turn
        };
        (0..count)
            .zip(self.sizes.iter().copied().cycle())
            .map(|(index, size)| (index / self.train % self.peers, size))
            .collect()
    }
}

/// An implementation of sending a batch of datagrams.
pub trait SendPath {
    /// Sends all datagrams (number of the peer, and bytes), in trains if possible. Datagrams are passed by value, like
    /// the output of encryption.
    ///
    /// # Errors
    ///
    /// The error of the kernel.
    fn send(
        &mut self,
        socket: &ShardSocket,
        peers: &[SocketAddr],
        datagrams: Vec<(usize, Bytes)>,
    ) -> io::Result<()>;
}

/// Send path of snapgate: [`SendQueue`].
#[derive(Debug)]
pub struct OwnSend {
    queue: SendQueue<Bytes>,
}

impl Default for OwnSend {
    fn default() -> Self {
        Self {
            queue: SendQueue::with_limits(usize::MAX, usize::MAX),
        }
    }
}

impl SendPath for OwnSend {
    fn send(
        &mut self,
        socket: &ShardSocket,
        peers: &[SocketAddr],
        datagrams: Vec<(usize, Bytes)>,
    ) -> io::Result<()> {
        for (peer, datagram) in datagrams {
            if let Some(&to) = peers.get(peer) {
                // The queue has no limits.
                let _full = self.queue.push(to, None, datagram);
            }
        }
        let mut failed = None;
        let mut done = |_, outcome: Result<(), SendError>| failed = failed.or(outcome.err());
        while self.queue.flush(socket, Instant::now(), &mut done) == Flush::Blocked {
            thread::yield_now();
        }
        failed.map_or(Ok(()), |error| Err(io::Error::other(error.name())))
    }
}

/// Send path with quinn-udp: the datagrams to one peer are copied into one buffer and sent with one call.
///
/// Buffers are found by the number of the peer, without a map.
#[derive(Debug, Default)]
pub struct QuinnSend {
    state: Option<UdpSocketState>,
    trains: Vec<(Vec<u8>, usize)>,
}

/// Maximum number of datagrams and bytes of one segmented send over IPv4.
const QUINN_TRAIN_DATAGRAMS: usize = 64;
const QUINN_TRAIN_BYTES: usize = 65_535 - 20 - 8;

impl QuinnSend {
    fn send_train(
        state: &UdpSocketState,
        socket: &ShardSocket,
        destination: SocketAddr,
        (contents, segment_size): &mut (Vec<u8>, usize),
    ) -> io::Result<()> {
        if contents.is_empty() {
            return Ok(());
        }
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: (contents.len() > *segment_size).then_some(*segment_size),
            src_ip: None,
        };
        loop {
            match state.try_send(UdpSockRef::from(&socket.as_fd()), &transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                answer => {
                    contents.clear();
                    return answer;
                }
            }
        }
    }
}

impl SendPath for QuinnSend {
    fn send(
        &mut self,
        socket: &ShardSocket,
        peers: &[SocketAddr],
        datagrams: Vec<(usize, Bytes)>,
    ) -> io::Result<()> {
        let state = match self.state.take() {
            Some(state) => state,
            None => UdpSocketState::new(UdpSockRef::from(&socket.as_fd()))?,
        };
        self.trains.resize_with(peers.len(), Default::default);
        for (peer, datagram) in datagrams {
            let (Some(train), Some(&to)) = (self.trains.get_mut(peer), peers.get(peer)) else {
                continue;
            };
            let fits = train.0.len() % train.1.max(1) == 0
                && datagram.len() <= train.1
                && train.0.len() < QUINN_TRAIN_DATAGRAMS * train.1
                && train.0.len() + datagram.len() <= QUINN_TRAIN_BYTES;
            if !fits {
                Self::send_train(&state, socket, to, train)?;
                train.1 = datagram.len();
            }
            train.0.extend_from_slice(&datagram);
        }
        for (train, &to) in self.trains.iter_mut().zip(peers) {
            Self::send_train(&state, socket, to, train)?;
        }
        self.state = Some(state);
        Ok(())
    }
}

/// Returns the CPU time of receiving a datagram, in nanoseconds.
///
/// # Errors
///
/// See [`StepError`].
pub fn measure_receive(
    traffic: &Traffic,
    placement: &Placement,
    budget: Duration,
) -> Result<f64, StepError> {
    let options = traffic.options();
    let socket = bind_client_socket(loopback(), &options)?;
    let clients = bind_clients(traffic.peers, &options)?;
    let to = [socket.local_addr()];
    let plan = traffic.batch();
    let datagrams = datagrams_of(&plan);
    let mut path = OwnSend::default();
    let send = move || {
        for train in datagrams.chunks(traffic.train) {
            if let Some(client) = train.first().and_then(|(peer, _)| clients.get(*peer)) {
                let to_one: Vec<(usize, Bytes)> =
                    train.iter().map(|(_, bytes)| (0, bytes.clone())).collect();
                path.send(client, &to, to_one)
                    .map_err(StepError::socket("send"))?;
            }
        }
        Ok(())
    };
    in_turns(placement, send, move |let_peers_send| {
        let mut batch = ReceiveBatch::new(TRAINS_PER_RECEIVE);
        super::median_of_batches(budget, || {
            let_peers_send();
            let ns = receive_all(&socket, &mut batch, plan.len())?;
            Ok(ns as f64 / plan.len() as f64)
        })
    })
}

/// Returns the CPU time of sending a datagram with the send path of snapgate, in nanoseconds.
///
/// # Errors
///
/// See [`StepError`].
pub fn measure_send(
    traffic: &Traffic,
    placement: &Placement,
    budget: Duration,
) -> Result<f64, StepError> {
    measure_send_by(OwnSend::default(), traffic, placement, budget)
}

/// Returns the CPU time of sending a datagram with `path`, in nanoseconds.
///
/// # Errors
///
/// See [`StepError`].
pub fn measure_send_by<S: SendPath + Send>(
    mut path: S,
    traffic: &Traffic,
    placement: &Placement,
    budget: Duration,
) -> Result<f64, StepError> {
    let options = traffic.options();
    let socket = bind_client_socket(loopback(), &options)?;
    let clients = bind_clients(traffic.peers, &options)?;
    let addresses: Vec<SocketAddr> = clients.iter().map(ShardSocket::local_addr).collect();
    let plan = traffic.batch();
    let mut batch = ReceiveBatch::new(TRAINS_PER_RECEIVE);
    let plan = plan.as_slice();
    let receive = move || {
        for (index, client) in clients.iter().enumerate() {
            let expected = plan.iter().filter(|&&(peer, _)| peer == index).count();
            receive_all(client, &mut batch, expected)?;
        }
        Ok(())
    };
    in_turns(placement, receive, move |let_peers_receive| {
        let datagrams = datagrams_of(plan);
        super::median_of_batches(budget, || {
            let sends: Vec<_> = datagrams
                .chunks(traffic.per_send)
                .map(<[_]>::to_vec)
                .collect();
            let before = cpu::thread_ns()?;
            for gathered in sends {
                path.send(&socket, &addresses, gathered)
                    .map_err(StepError::socket("send"))?;
            }
            let ns = cpu::thread_ns()? - before;
            let_peers_receive();
            Ok(ns as f64 / plan.len() as f64)
        })
    })
}

/// Runs `measure` on the gateway's CPU, and `peers` on the load's CPU whenever `measure` calls its argument, which
/// returns after `peers`.
fn in_turns(
    placement: &Placement,
    mut peers: impl FnMut() -> Result<(), StepError> + Send,
    measure: impl FnOnce(&dyn Fn()) -> Result<f64, StepError> + Send,
) -> Result<f64, StepError> {
    let turns = Turns::default();
    thread::scope(|scope| {
        let turns = &turns;
        let peers = scope.spawn(move || {
            let _ended = turns.end_on_return();
            cpu::pin(placement.load)?;
            while turns.wait_for(Turn::Peers) {
                peers()?;
                turns.give(Turn::Measured);
            }
            Ok(())
        });
        let measured = scope.spawn(move || {
            let _ended = turns.end_on_return();
            cpu::pin(placement.gateway)?;
            measure(&|| {
                turns.give(Turn::Peers);
                turns.wait_for(Turn::Measured);
            })
        });
        both(measured, peers)
    })
}

/// Allocates each datagram separately, like the output of encryption.
fn datagrams_of(plan: &[(usize, usize)]) -> Vec<(usize, Bytes)> {
    plan.iter()
        .map(|&(peer, size)| (peer, Bytes::from(vec![0x5a; size])))
        .collect()
}

/// Receives `expected` datagrams, and returns the CPU time of the receive calls in nanoseconds.
fn receive_all(
    socket: &ShardSocket,
    batch: &mut ReceiveBatch,
    expected: usize,
) -> Result<u64, StepError> {
    let started = Instant::now();
    let mut missing = expected;
    let mut ns = 0;
    while missing > 0 {
        let before = cpu::thread_ns()?;
        let answer = loop {
            match socket.receive(batch) {
                Ok(_) => {
                    let received: usize = batch.drain().map(|train| train.datagram_count()).sum();
                    missing = missing.saturating_sub(received);
                    if missing == 0 {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        let after = cpu::thread_ns()?;
        match answer {
            Ok(()) => ns += after - before,
            // The kernel still processes the rest of the batch, on the sender's CPU.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ns += after - before;
                if started.elapsed() > ARRIVAL_TIMEOUT {
                    return Err(StepError::Lost {
                        sent: expected,
                        missing,
                    });
                }
                thread::yield_now();
            }
            Err(error) => return Err(StepError::socket("receive")(error)),
        }
    }
    Ok(ns)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn bind_clients(count: usize, options: &SocketOptions) -> Result<Vec<ShardSocket>, StepError> {
    (0..count)
        .map(|_| bind_client_socket(loopback(), options).map_err(StepError::from))
        .collect()
}

/// Returns the result of the measured end, or the error of the other end, which is the cause if both fail.
fn both(
    measured: thread::ScopedJoinHandle<'_, Result<f64, StepError>>,
    other: thread::ScopedJoinHandle<'_, Result<(), StepError>>,
) -> Result<f64, StepError> {
    let panicked = || StepError::Tunnel("a measuring thread panicked");
    let measured = measured.join().map_err(|_| panicked())?;
    other.join().map_err(|_| panicked())??;
    measured
}

/// One of two threads that take turns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Measured,
    Peers,
}

/// State of two threads that take turns.
#[derive(Default)]
struct Turns {
    given: AtomicUsize,
    ended: AtomicBool,
}

impl Turns {
    /// Passes the turn to `turn`.
    fn give(&self, turn: Turn) {
        self.given.store(turn as usize, Ordering::Release);
    }

    /// Waits for `turn`; returns false if the other thread has ended.
    fn wait_for(&self, turn: Turn) -> bool {
        while self.given.load(Ordering::Acquire) != turn as usize {
            if self.ended.load(Ordering::Acquire) {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    /// Returns a guard that marks the thread as ended when dropped, also by a panic.
    fn end_on_return(&self) -> EndOnReturn<'_> {
        EndOnReturn(self)
    }
}

struct EndOnReturn<'a>(&'a Turns);

impl Drop for EndOnReturn<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_has_whole_rotations_of_all_peers() {
        let traffic = |peers, train, size| Traffic {
            sizes: vec![size],
            peers,
            train,
            per_send: usize::MAX,
            gso: true,
        };
        assert_eq!(traffic(100, 1, 1400).batch().len(), 500);
        assert_eq!(traffic(1, 16, 1400).batch().len(), 512);
        // With more peers than fit into a batch: one rotation.
        assert_eq!(traffic(1000, 1, 64).batch().len(), 1000);
        let peers: Vec<usize> = traffic(2, 2, 64)
            .batch()
            .iter()
            .map(|&(peer, _)| peer)
            .collect();
        assert_eq!(peers[..5], [0, 0, 1, 1, 0]);
    }

    #[test]
    fn both_send_paths_deliver_every_datagram() {
        let options = SocketOptions::default();
        let socket = bind_client_socket(loopback(), &options).unwrap();
        let clients = bind_clients(2, &options).unwrap();
        let addresses: Vec<SocketAddr> = clients.iter().map(ShardSocket::local_addr).collect();
        // Different sizes, and a train to one peer that is interrupted by a datagram to the other.
        let datagrams = datagrams_of(&[(0, 500), (0, 500), (1, 1000), (0, 500), (0, 700)]);
        let mut batch = ReceiveBatch::new(8);
        let paths: [Box<dyn SendPath>; 2] =
            [Box::<OwnSend>::default(), Box::<QuinnSend>::default()];
        for mut path in paths {
            path.send(&socket, &addresses, datagrams.clone()).unwrap();
            receive_all(&clients[0], &mut batch, 4).unwrap();
            receive_all(&clients[1], &mut batch, 1).unwrap();
        }
    }
}

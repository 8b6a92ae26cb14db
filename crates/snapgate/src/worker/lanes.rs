//! Lanes: the sockets towards SCION. Each router and each local host has a separate one, because datagrams to a host
//! that does not answer ARP, or that is slow, fill the send buffer of their socket, and would delay those to all others.
//!
//! Lane 0 is the worker's own socket: it receives, and sends to the hosts that have no lane. Then come the lanes of the
//! routers, bound at the start for good. Local hosts get a lane when the first packet for them arrives. Their number is
//! bounded: a new host takes the lane of a host whose packets do not leave, otherwise the one that was not used for the
//! longest time. A host whose packets did not leave is not tried again for some seconds.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::event::Event;
use udp_shards::{LaneBinder, ReceiveBatch, SendError, ShardSocket};

use crate::worker::error::WorkerError;
use crate::worker::polled_socket::{PolledSocket, SEND_BUFFER_START};
use crate::worker::sockets::lane_token;

mod assignment_limit;
mod back_off;
mod host;
mod lane;

use assignment_limit::AssignmentLimit;
use back_off::BackOff;
pub(crate) use host::{Host, host};
use lane::{Lane, QueueLimits, State, Tenancy};

/// Maximum number of lanes of local hosts.
const HOST_LANES_MAX: usize = 256;

/// Number of lanes that can be assigned at once: twice as many as there are, so that new hosts can also take those of hosts
/// that do not answer.
const ASSIGNMENTS_AT_ONCE: u32 = 2 * HOST_LANES_MAX as u32;

/// Maximum number of datagrams and bytes that wait for the socket of a router, or the worker's own.
const ROUTER_QUEUE: QueueLimits = (8192, 16 << 20);

/// Maximum number of datagrams and bytes that wait for the socket of a local host.
const HOST_QUEUE: QueueLimits = (512, 1 << 20);

/// Initial send buffer of the lane of a local host, in bytes. A host that does not answer ARP fills it, which is how
/// the lane is recognized: the kernel keeps up to 212,992 bytes for such a host, and drops more silently.
const HOST_SEND_BUFFER: usize = 64 << 10;

/// Time for which nothing leaves the send buffer of a local host after which the host is given up. ARP takes three
/// seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);

/// The worker's own socket, which hosts without a lane share.
pub(crate) const SHARED: usize = 0;

/// The sockets towards SCION of a worker before they are registered.
pub(crate) struct UnpolledLanes {
    pub(crate) own: ShardSocket,
    /// Numbered from 1 on.
    pub(crate) routers: Vec<ShardSocket>,
    pub(crate) binder: LaneBinder,
    /// The kernel selects lanes for received datagrams, too.
    pub(crate) receive: bool,
}

/// The lanes of a worker.
pub(crate) struct Lanes<B> {
    registry: Registry,
    binder: Option<LaneBinder>,
    receive: bool,
    lanes: Vec<Option<Lane<B>>>,
    first_host: usize,
    hosts: HashMap<Host, usize, ahash::RandomState>,
    back_off: BackOff,
    assignments: AssignmentLimit,
    /// Lanes whose queues may have something to send. A lane is in it once at most.
    to_flush: Vec<usize>,
    /// Lanes that may have something to receive.
    readable: VecDeque<usize>,
    /// Lanes that could not be bound.
    failed: u64,
}

/// Why a packet for a local host was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    QueueFull,
    /// Earlier packets did not leave.
    Unresolved,
}

impl<B: AsRef<[u8]>> Lanes<B> {
    /// `sockets` is `None` unless packets go to SCION.
    pub(crate) fn new(
        now: Instant,
        registry: &Registry,
        sockets: Option<UnpolledLanes>,
    ) -> io::Result<Self> {
        let mut lanes = Self {
            registry: registry.try_clone()?,
            binder: None,
            receive: false,
            lanes: Vec::new(),
            first_host: 0,
            hosts: HashMap::default(),
            back_off: BackOff::default(),
            assignments: AssignmentLimit::new(now, ASSIGNMENTS_AT_ONCE),
            to_flush: Vec::new(),
            readable: VecDeque::new(),
            failed: 0,
        };
        let Some(sockets) = sockets else {
            return Ok(lanes);
        };
        lanes.binder = Some(sockets.binder);
        lanes.receive = sockets.receive;
        for socket in [sockets.own].into_iter().chain(sockets.routers) {
            let index = lanes.lanes.len();
            let token = lane_token(index);
            let socket = PolledSocket::register(registry, socket, token, NAME, SEND_BUFFER_START)?;
            lanes.lanes.push(Some(Lane::new(socket, ROUTER_QUEUE)));
        }
        lanes.first_host = lanes.lanes.len();
        Ok(lanes)
    }

    /// Returns the number of lanes.
    pub(super) fn len(&self) -> usize {
        self.first_host + self.hosts.len()
    }

    /// Returns the number of lanes that could not be bound while the worker ran.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Returns the number of hosts that are not tried at the moment.
    pub(super) fn unresolved_hosts(&self, now: Instant) -> usize {
        self.back_off.len(now)
    }

    /// Takes note of an event of a socket.
    pub(super) fn note(&mut self, index: usize, event: &Event) -> io::Result<()> {
        let Some(Some(lane)) = self.lanes.get_mut(index) else {
            return Ok(());
        };
        let was_readable = lane.socket.is_readable();
        lane.socket.note(&self.registry, event)?;
        if lane.socket.is_readable() && !was_readable {
            self.readable.push_back(index);
        }
        if !lane.queue.is_empty() && !std::mem::replace(&mut lane.will_be_flushed, true) {
            self.to_flush.push(index);
        }
        Ok(())
    }

    /// Returns true if any socket may have something to receive.
    pub(super) fn is_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Receives one batch from the next readable socket; it is empty if the socket is. The sockets take turns.
    pub(super) fn receive(&mut self, batch: &mut ReceiveBatch) -> Result<(), WorkerError> {
        let Some(&index) = self.readable.front() else {
            return Ok(());
        };
        let Some(Some(lane)) = self.lanes.get_mut(index) else {
            self.readable.pop_front();
            return Ok(());
        };
        lane.socket.receive(batch)?;
        if lane.socket.is_readable() {
            self.readable.rotate_left(1);
        } else {
            self.readable.pop_front();
        }
        Ok(())
    }

    /// Takes note of a packet from a host: it is there, so packets for it are sent again.
    pub(super) fn heard(&mut self, from: SocketAddr) {
        self.back_off.remove(host(from));
    }

    /// Queues a datagram in the lane of a router, or in the shared one. Returns it if the queue is full.
    pub(super) fn push(&mut self, index: usize, to: SocketAddr, datagram: B) -> Result<(), B> {
        let Some(Some(lane)) = self.lanes.get_mut(index) else {
            return Err(datagram);
        };
        lane.queue.push(to, None, datagram)?;
        if !std::mem::replace(&mut lane.will_be_flushed, true) {
            self.to_flush.push(index);
        }
        Ok(())
    }

    /// Queues a datagram in the lane of a local host, or returns it. `lost` gets the datagrams that waited in the lane of
    /// a host whose packets do not leave, if that lane is taken away.
    pub(super) fn push_to_host(
        &mut self,
        now: Instant,
        to: SocketAddr,
        datagram: B,
        lost: &mut impl FnMut(B),
    ) -> Result<(), (Refusal, B)> {
        let host = host(to);
        let index = match self.hosts.get(&host) {
            Some(&index) => index,
            None if self.back_off.contains(now, host) => {
                return Err((Refusal::Unresolved, datagram));
            }
            None => self.assign(now, host, lost).unwrap_or(SHARED),
        };
        let bytes = datagram.as_ref().len();
        self.push(index, to, datagram)
            .map_err(|datagram| (Refusal::QueueFull, datagram))?;
        if let Some(Some(lane)) = self.lanes.get_mut(index)
            && let Some(tenancy) = &mut lane.tenancy
        {
            tenancy.note_datagram(now, bytes, lane.queue.len() == 1);
        }
        Ok(())
    }

    /// Sends the queues that have something to send.
    pub(super) fn flush(
        &mut self,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> io::Result<()> {
        for index in self.to_flush.drain(..) {
            if let Some(Some(lane)) = self.lanes.get_mut(index)
                && std::mem::take(&mut lane.will_be_flushed)
            {
                lane.socket
                    .flush(&self.registry, &mut lane.queue, now, done)?;
            }
        }
        Ok(())
    }

    /// Drops datagrams that have waited for too long in lanes that are blocked. To be called several times a second:
    /// nothing else does it in lanes that get no datagrams.
    pub(super) fn expire(&mut self, now: Instant, done: &mut impl FnMut(B, Result<(), SendError>)) {
        for lane in self.lanes.iter_mut().flatten() {
            if lane.socket.blocked_since().is_some() {
                lane.queue.expire(now, done);
            }
        }
    }

    /// Gives up local hosts whose packets have not left for a long time; `lost` gets their datagrams. Makes a system call
    /// for each host.
    pub(super) fn give_up_stuck_hosts(&mut self, now: Instant, lost: &mut impl FnMut(B)) {
        for index in self.first_host..self.lanes.len() {
            let stuck_since = self.lanes[index]
                .as_mut()
                .and_then(|lane| lane.stuck_since(now));
            let is_hopeless = |since| now.saturating_duration_since(since) >= GIVE_UP_AFTER;
            if stuck_since.is_some_and(is_hopeless) {
                self.give_up(now, index, lost);
            }
        }
        self.back_off.remove_ended(now);
    }

    /// Returns the number of destinations that get single datagrams because the kernel refused trains to them.
    pub(super) fn destinations_without_gso(&mut self, now: Instant) -> usize {
        let lanes = self.lanes.iter_mut().flatten();
        lanes
            .map(|lane| lane.queue.destinations_without_gso(now))
            .sum()
    }

    /// Returns the number of datagrams that the kernel dropped. Makes a system call for each socket that receives.
    pub(super) fn kernel_drops(&self) -> u64 {
        let receiving = if self.receive { self.lanes.len() } else { 1 };
        let lanes = self.lanes.iter().take(receiving).flatten();
        lanes.map(|lane| lane.socket.kernel_drops()).sum()
    }

    /// Gives a lane to a host. Returns `None` if there is none at the moment.
    fn assign(&mut self, now: Instant, host: Host, lost: &mut impl FnMut(B)) -> Option<usize> {
        if !self.assignments.admit(now) {
            return None;
        }
        let index = match self.free_lane(now) {
            Some(index) => index,
            None if self.hosts.len() < HOST_LANES_MAX => self.bind()?,
            None => self.make_room(now, lost)?,
        };
        let Some(Some(lane)) = self.lanes.get_mut(index) else {
            return None;
        };
        lane.tenancy = Some(Tenancy::new(now, host));
        self.hosts.insert(host, index);
        Some(index)
    }

    /// Returns an open lane without a host whose packets have left.
    fn free_lane(&mut self, now: Instant) -> Option<usize> {
        // All lanes have hosts, unless a host was given up and its lane could not be closed.
        if !self.receive {
            return None;
        }
        let is_free = |lane: &mut Lane<B>| lane.tenancy.is_none() && lane.state(now) == State::Idle;
        (self.first_host..self.lanes.len())
            .find(|&index| self.lanes[index].as_mut().is_some_and(is_free))
    }

    /// Binds a lane for a host.
    fn bind(&mut self) -> Option<usize> {
        let hosts = self.first_host..self.lanes.len();
        let unused = hosts.into_iter().find(|&index| self.lanes[index].is_none());
        let index = unused.unwrap_or(self.lanes.len());
        if index - self.first_host >= HOST_LANES_MAX {
            return None;
        }
        let socket = self.binder.as_ref()?.bind().ok().and_then(|socket| {
            let token = lane_token(index);
            PolledSocket::register(&self.registry, socket, token, NAME, HOST_SEND_BUFFER).ok()
        });
        let Some(socket) = socket else {
            self.failed += 1;
            return None;
        };
        let lane = Some(Lane::new(socket, HOST_QUEUE));
        match self.lanes.get_mut(index) {
            Some(unused) => *unused = lane,
            None => self.lanes.push(lane),
        }
        Some(index)
    }

    /// Takes a lane away from its host: that of a host whose packets do not leave, otherwise the one that was not used
    /// for the longest time, if everything has left it.
    fn make_room(&mut self, now: Instant, lost: &mut impl FnMut(B)) -> Option<usize> {
        let mut idle: Option<(Instant, usize)> = None;
        let mut stuck = None;
        for index in self.first_host..self.lanes.len() {
            let Some(lane) = &mut self.lanes[index] else {
                continue;
            };
            let Some(used_at) = lane.tenancy.as_ref().map(|tenancy| tenancy.used_at) else {
                continue;
            };
            match lane.state(now) {
                State::Stuck => {
                    stuck = Some(index);
                    break;
                }
                State::Idle if idle.is_none_or(|(longest, _)| used_at < longest) => {
                    idle = Some((used_at, index));
                }
                State::Idle | State::Busy => {}
            }
        }
        if let Some(index) = stuck {
            self.give_up(now, index, lost);
            return self.bind();
        }
        let (_, index) = idle?;
        let tenancy = self.lanes[index].as_mut()?.tenancy.take()?;
        self.hosts.remove(&tenancy.host);
        Some(index)
    }

    /// Takes a lane away from a host whose packets do not leave, and does not try the host again for some time.
    fn give_up(&mut self, now: Instant, index: usize, lost: &mut impl FnMut(B)) {
        let Some(Some(lane)) = self.lanes.get_mut(index) else {
            return;
        };
        let Some(tenancy) = lane.tenancy.take() else {
            return;
        };
        self.hosts.remove(&tenancy.host);
        self.back_off.insert(now, tenancy.host);
        lane.queue.drain().for_each(lost);
        // Closing a socket that receives would lose what it has received. It can be used again when everything has left,
        // at the latest when ARP has failed.
        if !self.receive {
            self.lanes[index] = None;
        }
    }
}

/// Name of a lane's socket in errors.
const NAME: &str = "an upstream socket";

#[cfg(test)]
mod tests;

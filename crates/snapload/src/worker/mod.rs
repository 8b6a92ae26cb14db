//! A generator thread: its tunnels with their sockets, and one poll.
//!
//! A turn, over and over: send what is due, read what came, serve a slice of the timers, wait.
//! Each part is bounded, so that none keeps the others from being on time. The clock is read once
//! per batch of packets.

mod connect;
mod receive;
mod send;
mod wait;
mod wake_timer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use bytes::BytesMut;
use crossbeam_channel::Sender;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{ClockId, clock_gettime};
use udp_shards::{ReceiveBatch, SendQueue, ShardSocket, SocketOptions, bind_client_socket};

use self::connect::Connecting;
use self::send::Outgoing;
use self::wake_timer::WakeTimer;
use crate::config::{MAX_PACKET_BYTES, MAX_TRAIN, Rate};
use crate::error::LoadError;
use crate::inner_packet::TunnelHeaders;
use crate::latency::Latencies;
use crate::pacing::{ClosedLoop, Nanos, OpenLoop, Pacing, nanos};
use crate::plan::Plan;
use crate::report::{ConnectReport, Counts, ThreadReport};
use crate::sequence::SequenceTracker;
use crate::tunnel::{Peer, Tunnel};

/// Trains (or single datagrams) read per system call.
const RECEIVE_TRAINS: usize = 8;

/// Events taken per poll.
const EVENTS_PER_POLL: usize = 1024;

/// Datagrams that a tunnel's queue holds: a train, and the answers to a batch of handshake
/// messages.
const QUEUE_DATAGRAMS: usize = MAX_TRAIN as usize + 16;

/// What a worker tells the thread that started it.
pub(crate) enum Message {
    /// All its tunnels are connected.
    Connected(ConnectReport),
    /// An interval of the measurement, counted from 0, is over.
    Interval(u64, Counts, Box<Latencies>),
    /// It sends no more; so many packets have no reply yet.
    Draining(u64),
    /// It is done; what was counted after the last interval.
    Done(Box<Summary>),
}

/// The end of a worker's messages.
pub(crate) struct Summary {
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) thread: ThreadReport,
}

/// Why a worker stopped before it was done.
pub(crate) enum Halt {
    /// The run failed elsewhere.
    Stopped,
    /// It failed here.
    Failed(LoadError),
}

impl From<LoadError> for Halt {
    fn from(error: LoadError) -> Self {
        Self::Failed(error)
    }
}

/// A tunnel and its socket.
struct Lane {
    /// The tunnel's index within the run.
    index: u32,
    tunnel: Tunnel,
    socket: ShardSocket,
    headers: TunnelHeaders,
    sequences: SequenceTracker,
    /// Every packet below this sequence number came back, was overtaken, or was written off.
    returned_below: u64,
    /// Whether it is in [`Worker::readable`].
    is_readable: bool,
    /// What its socket had no room for.
    blocked: Option<SendQueue<Outgoing>>,
    connecting: Connecting,
}

/// A generator thread.
pub(crate) struct Worker<'run> {
    plan: &'run Plan<'run>,
    thread: usize,
    sender: Sender<(usize, Message)>,
    peer: Peer,
    lanes: Vec<Lane>,
    pacing: Pacing,
    next_lane: usize,

    poll: Poll,
    events: Events,
    wake_timer: WakeTimer,
    /// Lanes whose sockets may hold datagrams.
    readable: VecDeque<usize>,
    /// Lanes that have something in [`Lane::blocked`].
    blocked: Vec<usize>,
    next_timers_ns: Nanos,
    next_timer_lane: usize,

    batch: ReceiveBatch,
    queue: SendQueue<Outgoing>,
    spare_queues: Vec<SendQueue<Outgoing>>,
    /// Where packets are written before they are encrypted; its memory comes back each time.
    inner: BytesMut,

    /// The time of the latest reading of the clock.
    now: Nanos,
    /// Time in which there was nothing to do.
    idle_ns: Nanos,
    connect: ConnectReport,
    /// Whether packets count: not in the warm-up.
    is_counting: bool,
    counts: Counts,
    latencies: Latencies,
    /// Packets sent and received that were counted in all intervals so far.
    total_sent: u64,
    total_received: u64,
    /// When the current interval ends, and its index.
    interval_end_ns: Nanos,
    interval: u64,
}

impl<'run> Worker<'run> {
    /// Binds the sockets of the thread's tunnels.
    pub(crate) fn new(
        plan: &'run Plan<'run>,
        thread: usize,
        sender: Sender<(usize, Message)>,
    ) -> Result<Self, LoadError> {
        let config = plan.config;
        let poll = Poll::new().map_err(LoadError::io("create a poll"))?;
        let peer = Peer::new(
            config.gateway,
            config.gateway_public_key,
            config.handshake_retry,
        );
        let range = plan.tunnels_of(thread);
        let mut lanes = Vec::with_capacity(range.len());
        for tunnel in range {
            let lane = Lane::new(plan, &peer, tunnel)?;
            register(&poll, &lane.socket, lanes.len())?;
            lanes.push(lane);
        }
        let wake_timer = WakeTimer::new(poll.registry(), Token(lanes.len()))
            .map_err(LoadError::io("create a timer"))?;
        let pacing = pacing(plan, thread, lanes.len());
        Ok(Self {
            plan,
            thread,
            sender,
            peer,
            lanes,
            pacing,
            next_lane: 0,
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            wake_timer,
            readable: VecDeque::new(),
            blocked: Vec::new(),
            next_timers_ns: 0,
            next_timer_lane: 0,
            batch: ReceiveBatch::new(RECEIVE_TRAINS),
            queue: new_queue(),
            spare_queues: Vec::new(),
            inner: BytesMut::new(),
            now: plan.now(),
            idle_ns: 0,
            connect: ConnectReport::default(),
            is_counting: false,
            counts: Counts::default(),
            latencies: Latencies::new(),
            total_sent: 0,
            total_received: 0,
            interval_end_ns: Nanos::MAX,
            interval: 0,
        })
    }

    /// Connects, sends, and waits for the last replies.
    pub(crate) fn work(mut self) -> Result<(), Halt> {
        self.connect()?;
        self.tell(Message::Connected(self.connect))?;
        let start = self.wait_for_start()?;
        if let Pacing::Open(open) = &mut self.pacing {
            open.start_at(start);
        }
        let warm_up_end = start + nanos(self.plan.config.warm_up);
        self.send_until(warm_up_end)?;
        self.skip_backlog(warm_up_end);

        self.start_counting(warm_up_end);
        let cpu_before = thread_cpu_seconds();
        let sending_ns = nanos(self.plan.config.duration);
        let end = warm_up_end + sending_ns;
        self.send_until(end)?;
        self.counts.due += self.skip_backlog(end);
        self.finish_interval(end)?;
        let cpu_seconds = thread_cpu_seconds() - cpu_before;
        let busy_share = 1.0 - (self.idle_ns as f64 / sending_ns as f64).min(1.0);

        self.drain()?;
        self.total_sent += self.counts.sent;
        self.total_received += self.counts.received;
        self.counts.receive_drops = self
            .lanes
            .iter()
            .map(|lane| lane.socket.kernel_drops())
            .sum();
        let thread = ThreadReport {
            cpu: self.plan.cpu_of(self.thread).map(|cpu| cpu.id),
            tunnels: self.lanes.len(),
            sent: self.total_sent,
            received: self.total_received,
            cpu_seconds,
            busy_share,
        };
        let summary = Summary {
            counts: self.counts,
            latencies: self.latencies.take(),
            thread,
        };
        self.tell(Message::Done(Box::new(summary)))
    }

    /// Serves the tunnels until sending begins, some time after all threads are ready; returns
    /// when that is.
    fn wait_for_start(&mut self) -> Result<Nanos, Halt> {
        loop {
            match self.plan.start() {
                Some(start) if self.now >= start => return Ok(start),
                Some(start) => self.turn(start)?,
                None => self.turn(self.now + wait::TICK_NS)?,
            }
        }
    }

    /// Sends what is due before `end`.
    fn send_until(&mut self, end: Nanos) -> Result<(), Halt> {
        while self.now < end {
            let next_due = self.send_due(end);
            self.turn(next_due.min(end).min(self.interval_end_ns))?;
            if self.now >= self.interval_end_ns {
                self.finish_interval(self.interval_end_ns)?;
            }
        }
        // A few packets may be late. More are a backlog of a generator that is too slow.
        if let Pacing::Open(_) = self.pacing {
            self.send_due(end);
        }
        Ok(())
    }

    /// Leaves out what was due before `time` and was not sent; returns how many packets that is.
    fn skip_backlog(&mut self, time: Nanos) -> u64 {
        match &mut self.pacing {
            Pacing::Open(open) => {
                open.skip_to(time) * u64::from(self.plan.config.effective_train())
            }
            Pacing::Closed(_) => 0,
        }
    }

    /// Everything before this was practice.
    fn start_counting(&mut self, now: Nanos) {
        for lane in &mut self.lanes {
            lane.sequences.start_counting();
        }
        self.is_counting = true;
        self.counts = Counts::default();
        self.latencies = Latencies::new();
        self.idle_ns = 0;
        self.interval_end_ns = now.saturating_add(nanos(self.plan.config.interval));
    }

    /// Reports what was counted since the last interval, and begins the next at `end`.
    fn finish_interval(&mut self, end: Nanos) -> Result<(), Halt> {
        let counts = std::mem::take(&mut self.counts);
        self.total_sent += counts.sent;
        self.total_received += counts.received;
        let latencies = Box::new(self.latencies.take());
        self.tell(Message::Interval(self.interval, counts, latencies))?;
        self.interval += 1;
        self.interval_end_ns = end.saturating_add(nanos(self.plan.config.interval));
        Ok(())
    }

    /// Waits for the replies to what was sent.
    fn drain(&mut self) -> Result<(), Halt> {
        let outstanding = |worker: &Self| {
            let sent = worker.total_sent + worker.counts.sent;
            sent.saturating_sub(worker.total_received + worker.counts.received)
        };
        self.tell(Message::Draining(outstanding(self)))?;
        let end = self.now.saturating_add(nanos(self.plan.config.drain));
        while self.now < end && outstanding(self) > 0 {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Reads, keeps the tunnels alive, and waits until something comes or `wake_ns`.
    fn turn(&mut self, wake_ns: Nanos) -> Result<(), Halt> {
        if self.plan.is_stopped() {
            return Err(Halt::Stopped);
        }
        self.receive()?;
        self.flush_blocked();
        self.update_timers()?;
        self.wait(wake_ns)
    }

    fn tell(&self, message: Message) -> Result<(), Halt> {
        // The receiver is gone only when the run failed.
        self.sender
            .send((self.thread, message))
            .map_err(|_| Halt::Stopped)
    }
}

impl Lane {
    fn new(plan: &Plan<'_>, peer: &Peer, tunnel: usize) -> Result<Self, LoadError> {
        let secret = plan.config.identities.secrets()[tunnel].clone();
        Ok(Self {
            index: tunnel as u32,
            tunnel: Tunnel::new(secret, peer),
            socket: bind_socket(plan, peer, tunnel)?,
            headers: TunnelHeaders::default(),
            sequences: SequenceTracker::default(),
            returned_below: 0,
            is_readable: false,
            blocked: None,
            connecting: Connecting::NotStarted,
        })
    }
}

/// A socket for a tunnel, on a port that is free.
fn bind_socket(plan: &Plan<'_>, peer: &Peer, tunnel: usize) -> Result<ShardSocket, LoadError> {
    let address = plan.source_ip(tunnel);
    let socket = bind_client_socket(SocketAddr::new(address, 0), &SocketOptions::default())
        .map_err(|source| LoadError::Bind {
            tunnel,
            address,
            source,
        })?;
    socket
        .connect(peer.gateway)
        .map_err(|source| LoadError::NoRoute {
            gateway: peer.gateway,
            source,
        })?;
    Ok(socket)
}

/// Watches the socket of a lane.
fn register(poll: &Poll, socket: &ShardSocket, lane: usize) -> Result<(), LoadError> {
    poll.registry()
        .register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(lane),
            Interest::READABLE,
        )
        .map_err(LoadError::io("watch a socket"))
}

fn new_queue() -> SendQueue<Outgoing> {
    SendQueue::with_limits(QUEUE_DATAGRAMS, QUEUE_DATAGRAMS * MAX_PACKET_BYTES)
}

/// A thread's part of the rate or of the window: by its share of the tunnels for a rate, so that
/// all tunnels get the same, and the same for all threads for a window.
fn pacing(plan: &Plan<'_>, thread: usize, lanes: usize) -> Pacing {
    let config = plan.config;
    match config.rate {
        Rate::PerSecond(pps) => {
            let share = lanes as f64 / config.identities.len() as f64;
            Pacing::Open(OpenLoop::new(
                pps * share,
                config.effective_train(),
                thread as f64 / config.threads as f64,
            ))
        }
        Rate::Max { window } => {
            Pacing::Closed(ClosedLoop::new(u64::from(window) / config.threads as u64))
        }
    }
}

fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

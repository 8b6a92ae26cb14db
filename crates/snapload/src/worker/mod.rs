//! A generator thread: its tunnels, its sockets, and one poll.
//!
//! A turn, over and over: send what is due, read what came, serve a slice of the timers, wait.
//! Each part is bounded, so that none keeps the others from being on time. The clock is read once
//! per batch of packets.

mod attendance;
mod bind;
mod connect;
mod handshake_window;
mod lane_order;
mod ports;
mod prepared;
mod receive;
mod send;
mod trial;
mod wait;
mod wake_timer;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use udp_shards::ReceiveBatch;

use self::attendance::Attendance;
use self::connect::Connecting;
use self::handshake_window::HandshakeWindow;
use self::lane_order::LaneOrder;
use self::ports::Ports;
use self::prepared::Prepared;
use crate::error::LoadError;
use crate::inner_packet::PacketForm;
use crate::latency::Latencies;
use crate::pacing::{Nanos, Pacing};
use crate::plan::Plan;
use crate::ramp::{RampCounter, StepCounts};
use crate::report::{ConnectReport, Counts, ThreadReport};
use crate::sequence::SequenceTracker;
use crate::size_order::SizeOrder;
use crate::trial::TrialOrder;
use crate::tunnel::{Peer, Tunnel};

/// Trains (or single datagrams) read per system call.
const RECEIVE_TRAINS: usize = 8;

/// What a worker tells the thread that started it.
pub(crate) enum Message {
    /// All its tunnels are connected.
    Connected(ConnectReport),
    /// It is ready to send.
    Ready,
    /// An interval of the measurement is over.
    Interval {
        /// Counted from 0.
        index: u64,
        /// When it ended, after packets began to be counted.
        end_ns: Nanos,
        counts: Counts,
        latencies: Box<Latencies>,
    },
    /// It sends no more; so many packets have not arrived yet.
    Draining(u64),
    /// The trial is done; what was counted after the last interval.
    Done(Box<Summary>),
}

/// The end of a worker's messages about a trial.
pub(crate) struct Summary {
    /// Whether the packets encrypted beforehand were used up before the time was over.
    pub(crate) used_up: bool,
    /// How long packets were sent and counted.
    pub(crate) sending_ns: Nanos,
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) handshakes: Latencies,
    /// Of a ramp; otherwise empty.
    pub(crate) steps: Vec<StepCounts>,
    pub(crate) thread: ThreadReport,
}

/// Why a worker stopped before it was done.
pub(crate) enum Halt {
    /// The run is over, or failed elsewhere.
    Stopped,
    /// It failed here.
    Failed(LoadError),
}

impl From<LoadError> for Halt {
    fn from(error: LoadError) -> Self {
        Self::Failed(error)
    }
}

/// A tunnel and its place at a socket.
struct Lane {
    /// The tunnel's index within the run.
    index: u32,
    tunnel: Tunnel,
    /// The socket it uses.
    port: usize,
    /// The socket it began with.
    first_port: usize,
    /// The address it sends from, on a shared socket.
    from_ip: Option<IpAddr>,
    /// Its address as the gateway saw it; `None` before it is connected.
    address: Option<SocketAddr>,
    sequences: SequenceTracker,
    /// Every packet below this sequence number arrived, was overtaken, or was written off.
    returned_below: u64,
    /// The batch in which its last train was queued.
    batch: u64,
    connecting: Connecting,
    /// When its latest session began.
    session_since_ns: Nanos,
    /// It sends no more, for it will be replaced soon.
    is_leaving: bool,
    /// When it was to begin another handshake, which is not done.
    rekeying_since: Option<Nanos>,
}

/// A generator thread.
pub(crate) struct Worker<'run> {
    plan: &'run Plan<'run>,
    thread: usize,
    orders: Receiver<Arc<TrialOrder>>,
    sender: Sender<(usize, Message)>,
    peer: Peer,
    form: PacketForm,
    lanes: Vec<Lane>,
    ports: Ports,
    /// The port of the router that this thread is.
    router: Option<usize>,
    sizes: SizeOrder,
    pacing: Pacing,
    order: LaneOrder,
    /// What was encrypted before sending.
    prepared: Option<Prepared>,
    attendance: Attendance,

    handshake_window: HandshakeWindow,
    /// Lanes that are connecting.
    handshaking: Vec<usize>,
    next_timers_ns: Nanos,
    next_handshaking: usize,
    next_timer_lane: usize,
    /// Tunnels whose timers are due, from `next_timer_lane` on.
    timers_due: usize,

    receive_batch: ReceiveBatch,
    /// Where packets are written before they are encrypted; its memory comes back each time.
    inner: BytesMut,

    /// The time of the latest reading of the clock.
    now: Nanos,
    /// Time in which there was nothing to do.
    idle_ns: Nanos,
    connect: ConnectReport,
    /// Whether packets count: not in the warm-up. And since when.
    is_counting: bool,
    counting_since_ns: Nanos,
    counts: Counts,
    latencies: Latencies,
    /// From when a handshake was to begin to its end, since the latest trial.
    handshakes: Latencies,
    ramp: RampCounter,
    /// Packets sent and received that were counted in all intervals so far.
    total_sent: u64,
    total_received: u64,
    /// When the current interval ends, and its index.
    interval_end_ns: Nanos,
    interval: u64,
}

impl<'run> Worker<'run> {
    /// Binds the sockets of the thread.
    pub(crate) fn new(
        plan: &'run Plan<'run>,
        thread: usize,
        orders: Receiver<Arc<TrialOrder>>,
        sender: Sender<(usize, Message)>,
    ) -> Result<Self, LoadError> {
        let config = plan.config;
        let peer = Peer::new(config);
        let mut ports = Ports::new()?;
        let router = bind::router(plan, thread, &mut ports)?;
        Ok(Self {
            plan,
            thread,
            orders,
            sender,
            peer,
            form: plan.packet_form(thread)?,
            pacing: Pacing::idle(),
            sizes: SizeOrder::new(&config.size_mix(), plan.seed_of(thread)),
            lanes: Vec::with_capacity(plan.tunnels_of(thread).len()),
            ports,
            router,
            order: LaneOrder::default(),
            prepared: None,
            attendance: Attendance::default(),
            handshake_window: HandshakeWindow::new(),
            handshaking: Vec::new(),
            next_timers_ns: 0,
            next_handshaking: 0,
            next_timer_lane: 0,
            timers_due: 0,
            receive_batch: ReceiveBatch::new(RECEIVE_TRAINS),
            inner: BytesMut::new(),
            now: plan.now(),
            idle_ns: 0,
            connect: ConnectReport::default(),
            is_counting: false,
            counting_since_ns: 0,
            counts: Counts::default(),
            latencies: Latencies::new(),
            handshakes: Latencies::new(),
            ramp: RampCounter::default(),
            total_sent: 0,
            total_received: 0,
            interval_end_ns: Nanos::MAX,
            interval: 0,
        })
    }

    /// Connects, and carries out trials until there are no more.
    pub(crate) fn work(mut self) -> Result<(), Halt> {
        self.connect()?;
        self.order = LaneOrder::new(self.plan, self.thread, &self.lanes);
        self.tell(Message::Connected(self.connect))?;
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.carry_out(&order)?,
                Err(TryRecvError::Empty) => self.turn(self.now + wait::TICK_NS)?,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Reads, keeps the tunnels alive, and waits until something comes or `wake_ns`.
    fn turn(&mut self, wake_ns: Nanos) -> Result<(), Halt> {
        if self.plan.is_stopped() {
            return Err(Halt::Stopped);
        }
        self.receive()?;
        self.ports.flush_blocked(&mut self.counts);
        self.update_timers()?;
        self.serve_attendance()?;
        self.ports.flush(&mut self.counts);
        self.wait(wake_ns.min(self.attendance.next_ns()))
    }

    fn tell(&self, message: Message) -> Result<(), Halt> {
        // The receiver is gone only when the run failed.
        self.sender
            .send((self.thread, message))
            .map_err(|_| Halt::Stopped)
    }
}

impl Lane {
    fn new(index: u32, tunnel: Tunnel, port: usize, from_ip: Option<IpAddr>) -> Self {
        Self {
            index,
            tunnel,
            port,
            first_port: port,
            from_ip,
            address: None,
            sequences: SequenceTracker::default(),
            returned_below: 0,
            batch: 0,
            connecting: Connecting::NotStarted,
            session_since_ns: 0,
            is_leaving: false,
            rekeying_since: None,
        }
    }

    /// Whether packets can be sent to it and from it.
    fn is_present(&self) -> bool {
        self.address.is_some() && !self.is_leaving
    }
}

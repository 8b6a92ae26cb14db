//! Generator thread: its tunnels, its sockets, and one poll.
//!
//! Each turn sends due packets, reads received ones, serves a slice of the timers, and waits. Each part is bounded, so
//! that no part delays the others. The clock is read once per batch of packets.

mod attendance;
mod bind;
mod connect;
mod handshake_window;
mod lane;
mod lane_order;
mod message;
mod ports;
mod prepare;
mod prepared;
mod receive;
mod send;
mod trial;
mod turnover;
mod wait;
mod wake_timer;

use std::sync::Arc;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use udp_shards::ReceiveBatch;

use self::attendance::Attendance;
use self::handshake_window::HandshakeWindow;
use self::lane::Lane;
use self::lane_order::LaneOrder;
pub(crate) use self::message::{Halt, IntervalPart, Message, Summary};
use self::ports::Ports;
use self::prepared::Prepared;
use crate::error::LoadError;
use crate::inner_packet::PacketForm;
use crate::latency::Latencies;
use crate::pacing::{Nanos, Pacing};
use crate::plan::Plan;
use crate::ramp::RampCounter;
use crate::report::{ConnectReport, Counts};
use crate::size_order::SizeOrder;
use crate::trial::TrialOrder;
use crate::tunnel::Peer;

/// Number of trains (or single datagrams) read per system call.
const RECEIVE_TRAINS: usize = 8;

/// Period of checks for state changes without an event.
const TICK_NS: Nanos = 1_000_000;

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
    /// Port of the router that this thread plays.
    router: Option<usize>,
    sizes: SizeOrder,
    pacing: Pacing,
    order: LaneOrder,
    /// Pre-encrypted packets of the trial.
    prepared: Option<Prepared>,
    attendance: Attendance,

    handshake_window: HandshakeWindow,
    /// Lanes that are connecting.
    handshaking: Vec<usize>,
    next_timers_ns: Nanos,
    next_handshaking: usize,
    next_timer_lane: usize,
    /// Number of tunnels whose timers are due, starting at `next_timer_lane`.
    timers_due: usize,

    receive_batch: ReceiveBatch,
    /// Buffer for packets before encryption; its memory is reused.
    inner: BytesMut,

    /// Latest reading of the clock.
    now: Nanos,
    /// Time without work.
    idle_ns: Nanos,
    connect: ConnectReport,
    /// False in the warm-up, when packets are not counted.
    is_counting: bool,
    counting_since_ns: Nanos,
    counts: Counts,
    latencies: Latencies,
    /// Time from the scheduled start of a handshake to its end, since the previous trial.
    handshakes: Latencies,
    ramp: RampCounter,
    /// Packets sent and received in all completed intervals.
    total_sent: u64,
    total_received: u64,
    /// End of the current interval, and its index.
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

    /// Connects, and runs trials until the orders end.
    pub(crate) fn work(mut self) -> Result<(), Halt> {
        self.connect()?;
        self.order = LaneOrder::new(self.plan, self.thread, &self.lanes);
        self.tell(Message::Connected(self.connect))?;
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.run_trial(&order)?,
                Err(TryRecvError::Empty) => self.turn(self.now + TICK_NS)?,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Reads, serves the tunnels, and waits for an event or until `wake_ns`.
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
        // The receiver is dropped only when the run has failed.
        self.sender
            .send((self.thread, message))
            .map_err(|_| Halt::Stopped)
    }
}

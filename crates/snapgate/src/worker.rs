//! A worker: a pinned thread with one shard and its own sockets.
//!
//! [`Worker::run`] sleeps in one poll and otherwise takes turns. The steps of a turn:
//!
//! 1. data sockets: receive, decapsulate, check, forward;
//! 2. mailbox: packets handed over, hairpins, commands;
//! 3. upstream sockets: receive, find the tunnel, encapsulate;
//! 4. mixed sockets: trains that begin with a handshake message or with garbage, as in step 1;
//! 5. handshakes, for no longer than steps 1 to 4 took;
//! 6. the slice of the timers that is due, then the shard's events for other workers, the state file and accounting;
//! 7. send all queued datagrams in trains.
//!
//! Every receiving step has a budget of work, so that none can starve the later ones. Pending work is remembered, and
//! the next turn follows without sleeping.

use std::sync::Arc;
use std::time::{Duration, Instant};

use udp_shards::ReceiveBatch;

use crate::counters::Published;
use crate::mailbox::Mailbox;

mod dispatch;
mod error;
mod handshake_queue;
mod handshakes;
mod incoming;
mod lanes;
mod listener_queues;
mod outgoing;
mod pipeline;
mod polled_socket;
mod scmp_errors;
mod scmp_limit;
mod sockets;
mod upstream;

pub(crate) use dispatch::Owners;
use error::WorkerError;
pub(crate) use lanes::{Lanes, UnpolledLanes};
pub(crate) use pipeline::{Pipeline, PipelineParts};
pub(crate) use sockets::{MAILBOX, Sockets, UnpolledListener};
pub(crate) use upstream::{ScionUpstream, Upstream, routers};

/// Trains, or single datagrams, received in one system call.
const TRAINS_PER_RECEIVE: usize = 32;

/// Budget of a step for one socket or the mailbox, in units of work. Each received train or single datagram counts one
/// unit (about 0.5 µs), and each handled datagram another (0.1 to 2 µs), except datagrams dropped with their whole
/// train. The batch that reaches the budget is completed.
const WORK_PER_STEP: u64 = 1024;

/// Budget of handshake sockets; it is smaller because a flood can forge messages faster than they are checked.
const HANDSHAKE_WORK_PER_STEP: u64 = 256;

/// Interval at which the kernel's drop counters are read and the lanes are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// State of a worker thread.
pub(crate) struct Worker {
    sockets: Sockets,
    mailbox: Mailbox,
    pipeline: Pipeline,
    batch: ReceiveBatch,
    published: Arc<Published>,
    check_due: Instant,
}

impl Worker {
    pub(crate) fn new(
        sockets: Sockets,
        mailbox: Mailbox,
        pipeline: Pipeline,
        published: Arc<Published>,
    ) -> Self {
        let check_due = pipeline.clock.now();
        Self {
            sockets,
            mailbox,
            pipeline,
            batch: ReceiveBatch::new(TRAINS_PER_RECEIVE),
            published,
            check_due,
        }
    }

    /// Takes turns until [`Message::Stop`](crate::mailbox::Message::Stop). Returns the mailbox, into which running
    /// workers may still put packets.
    pub(crate) fn run(mut self) -> Result<Mailbox, WorkerError> {
        // Tunnels of the previous process are known before the first packet.
        self.read_mailbox();
        let served = self.take_turns();
        // Also after a failure: the traffic has passed.
        self.pipeline.report_open_tunnels();
        served?;
        self.sockets.count_kernel_drops(&mut self.pipeline.counters);
        let now = self.pipeline.clock.now();
        self.pipeline.check_lanes(now);
        self.published.publish(&self.pipeline.into_counters());
        Ok(self.mailbox)
    }

    fn take_turns(&mut self) -> Result<(), WorkerError> {
        while !self.pipeline.stopping {
            self.turn()?;
            self.sleep()?;
        }
        Ok(())
    }

    fn sleep(&mut self) -> Result<(), WorkerError> {
        let work_left = self.pipeline.stopping
            || self.sockets.is_readable()
            || self.pipeline.lanes.is_readable()
            || self.pipeline.has_handshakes()
            || !self.mailbox.is_empty();
        let timeout = if work_left {
            Duration::ZERO
        } else {
            self.pipeline
                .next_timer()
                .saturating_duration_since(self.pipeline.clock.now())
        };
        let lanes = &mut self.pipeline.lanes;
        self.sockets
            .wait(timeout, |lane, event| lanes.note(lane, event))
            .map_err(WorkerError::Poll)
    }

    fn turn(&mut self) -> Result<(), WorkerError> {
        let turn_start = self.pipeline.clock.now();
        self.pipeline.start_turn();
        self.receive_data()?;
        self.read_mailbox();
        self.receive_upstream()?;
        self.receive_mixed()?;
        self.receive_handshakes()?;
        let now = self.pipeline.clock.now();
        self.pipeline.handle_handshakes(turn_start, now);
        self.pipeline.timers(now);
        self.pipeline.take_events();
        self.pipeline
            .flush(now, &mut self.sockets)
            .map_err(WorkerError::Register)?;
        self.pipeline.wake_peers().map_err(WorkerError::Wake)?;
        if now >= self.check_due {
            self.check_due = now + CHECK_INTERVAL;
            self.sockets.count_kernel_drops(&mut self.pipeline.counters);
            self.pipeline.check_lanes(now);
        }
        self.publish();
        Ok(())
    }

    fn receive_data(&mut self) -> Result<(), WorkerError> {
        for (index, listener) in (0..).zip(&mut self.sockets.listeners) {
            let enough = self.pipeline.work + WORK_PER_STEP;
            while listener.data.is_readable() && self.pipeline.work < enough {
                listener.data.receive(&mut self.batch)?;
                self.pipeline.receive_trains(index, &mut self.batch);
            }
        }
        Ok(())
    }

    /// Receives trains that begin with neither data nor a single handshake message. Garbage among them costs only its
    /// reception.
    fn receive_mixed(&mut self) -> Result<(), WorkerError> {
        for (index, listener) in (0..).zip(&mut self.sockets.listeners) {
            let Some(mixed) = &mut listener.mixed else {
                continue;
            };
            let enough = self.pipeline.work + WORK_PER_STEP;
            while mixed.is_readable() && self.pipeline.work < enough {
                mixed.receive(&mut self.batch)?;
                self.pipeline.receive_trains(index, &mut self.batch);
            }
        }
        Ok(())
    }

    fn read_mailbox(&mut self) {
        let now = self.pipeline.clock.now();
        let enough = self.pipeline.work + WORK_PER_STEP;
        while self.pipeline.work < enough
            && !self.pipeline.stopping
            && let Some(message) = self.mailbox.take()
        {
            self.pipeline.take_over(now, message);
        }
    }

    fn receive_upstream(&mut self) -> Result<(), WorkerError> {
        let enough = self.pipeline.work + WORK_PER_STEP;
        while self.pipeline.lanes.is_readable() && self.pipeline.work < enough {
            self.pipeline.lanes.receive(&mut self.batch)?;
            let now = self.pipeline.clock.now();
            for train in self.batch.drain() {
                self.pipeline.receive_outgoing(now, train);
            }
        }
        Ok(())
    }

    /// Reads handshake messages until enough of them wait. The rest stays in the kernel, which drops the newest when
    /// its buffer is full.
    fn receive_handshakes(&mut self) -> Result<(), WorkerError> {
        for (index, listener) in (0..).zip(&mut self.sockets.listeners) {
            let Some(handshake) = &mut listener.handshake else {
                continue;
            };
            let enough = self.pipeline.work + HANDSHAKE_WORK_PER_STEP;
            while handshake.is_readable()
                && self.pipeline.wants_handshakes()
                && self.pipeline.work < enough
            {
                handshake.receive(&mut self.batch)?;
                self.pipeline.receive_trains(index, &mut self.batch);
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.pipeline.update_gauges();
        self.published.publish(&self.pipeline.counters);
    }
}

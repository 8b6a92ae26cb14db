//! Running a trial: warm-up, measurement, and the wait for outstanding packets.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::message::{Halt, IntervalPart, Message, Summary};
use super::{TICK_NS, Worker};
use crate::config::Rate;
use crate::latency::Latencies;
use crate::pacing::{ClosedLoop, Nanos, OpenLoop, Pacing, nanos};
use crate::report::{Counts, ThreadReport};
use crate::trial::{Trial, TrialOrder};

impl Worker<'_> {
    /// Runs a trial.
    pub(super) fn run_trial(&mut self, order: &TrialOrder) -> Result<(), Halt> {
        let trial = &order.trial;
        self.start_trial(trial);
        self.prepare(trial)?;
        self.tell(Message::Ready)?;
        let start = self.wait_for_start(order)?;
        if let Pacing::Open(open) = &mut self.pacing {
            open.start_at(start);
        }
        let warm_up_end = self.send_until(order, start + nanos(trial.warm_up))?;
        self.skip_backlog(warm_up_end);

        self.start_counting(warm_up_end);
        self.ramp = trial.ramp_counter(warm_up_end);
        self.begin_attendance(warm_up_end);
        let drops_before = self.ports.kernel_drops();
        let cpu_before = thread_cpu_seconds();
        let end = self.send_until(order, warm_up_end + nanos(trial.duration))?;
        let sending_ns = end - warm_up_end;
        self.end_attendance();
        self.catch_up(warm_up_end, end)?;
        self.counts.due += self.skip_backlog(end);
        self.finish_interval(end)?;
        self.interval_end_ns = Nanos::MAX;
        let cpu_seconds = thread_cpu_seconds() - cpu_before;
        let busy_share = 1.0 - (self.idle_ns as f64 / sending_ns.max(1) as f64).min(1.0);

        self.drain()?;
        self.total_sent += self.counts.sent;
        self.total_received += self.counts.received;
        self.counts.receive_drops = self.ports.kernel_drops() - drops_before;
        self.is_counting = false;
        self.pacing = Pacing::idle();
        let thread = ThreadReport {
            cpu: self.plan.cpu_of(self.thread).map(|cpu| cpu.id),
            tunnels: self.lanes.len(),
            connected: self.lanes.iter().filter(|lane| lane.is_present()).count(),
            sent: self.total_sent,
            received: self.total_received,
            cpu_seconds,
            busy_share,
        };
        let summary = Summary {
            used_up: order.is_ended(),
            sending_ns,
            counts: std::mem::take(&mut self.counts),
            latencies: self.latencies.take(),
            handshakes: self.handshakes.take(),
            steps: std::mem::take(&mut self.ramp).into_steps(),
            thread,
        };
        self.tell(Message::Done(Box::new(summary)))
    }

    /// Resets the state of the previous trial.
    fn start_trial(&mut self, trial: &Trial) {
        self.pacing = self.pacing_of(trial);
        for lane in &mut self.lanes {
            lane.sequences.start_counting();
            lane.returned_below = lane.sequences.next_to_send();
        }
        self.order.restart();
        self.total_sent = 0;
        self.total_received = 0;
        self.interval = 0;
        self.interval_end_ns = Nanos::MAX;
    }

    /// Returns this thread's part of the rate or of the window. Rates are split by the shares of the active tunnels, so
    /// that all tunnels get theirs; windows are split evenly.
    pub(super) fn pacing_of(&self, trial: &Trial) -> Pacing {
        let config = self.plan.config;
        match trial.rate {
            Rate::PerSecond(pps) => Pacing::Open(self.open_loop(&[(pps, Nanos::MAX)])),
            Rate::Ramp { .. } => Pacing::Open(self.open_loop(&trial.ramp())),
            Rate::Max { window } => {
                Pacing::Closed(ClosedLoop::new(u64::from(window) / config.threads as u64))
            }
        }
    }

    /// Returns this thread's part of rates over all tunnels, each with its duration.
    fn open_loop(&self, rates: &[(f64, Nanos)]) -> OpenLoop {
        let config = self.plan.config;
        let share = self.plan.share_of(self.thread);
        let rates = rates.iter().map(|&(pps, time)| (pps * share, time));
        let phase = self.thread as f64 / config.threads as f64;
        OpenLoop::new(rates, config.effective_train(), phase)
    }

    /// Serves the tunnels until sending starts, after all threads are ready. Returns the start time.
    fn wait_for_start(&mut self, order: &TrialOrder) -> Result<Nanos, Halt> {
        loop {
            match order.start() {
                Some(start) if self.now >= start => return Ok(start),
                Some(start) => self.turn(start)?,
                None => self.turn(self.now + TICK_NS)?,
            }
        }
    }

    /// Sends packets that are due before `end`. Returns the time at which it ended, which is earlier if the run is
    /// stopped or if a thread has used up its pre-encrypted packets.
    fn send_until(&mut self, order: &TrialOrder, end: Nanos) -> Result<Nanos, Halt> {
        while self.now < end {
            if self.has_used_up() {
                order.end();
            }
            if self.plan.config.stop.is_set() || order.is_ended() {
                return Ok(self.now);
            }
            let next_due = self.send_due(end);
            self.turn(next_due.min(end).min(self.interval_end_ns))?;
            // More than one interval can have passed if the thread was not scheduled. The caller finishes the last one.
            while self.interval_end_ns <= self.now && self.interval_end_ns < end {
                self.finish_interval(self.interval_end_ns)?;
            }
        }
        Ok(end)
    }

    /// Sends packets that were due before `end` and are late, for a limited time, so that a short delay before the end
    /// does not count.
    fn catch_up(&mut self, start: Nanos, end: Nanos) -> Result<(), Halt> {
        let period = Duration::from_nanos(end - start);
        let limit = end.saturating_add(nanos(self.plan.config.catch_up_after(period)));
        while let Pacing::Open(open) = &self.pacing
            && open.next_due() < end
            && self.now < limit
        {
            self.send_due(end);
            self.turn(self.now)?;
        }
        Ok(())
    }

    /// Skips packets that were due before `time` and were not sent. Returns their number.
    fn skip_backlog(&mut self, time: Nanos) -> u64 {
        match &mut self.pacing {
            Pacing::Open(open) => {
                let trains = open.skip_to(time);
                self.skip_prepared(trains, time);
                trains * u64::from(self.plan.config.effective_train())
            }
            Pacing::Closed(_) => 0,
        }
    }

    /// Ends the warm-up.
    fn start_counting(&mut self, now: Nanos) {
        for lane in &mut self.lanes {
            lane.sequences.start_counting();
        }
        self.is_counting = true;
        self.counting_since_ns = now;
        self.counts = Counts::default();
        self.latencies = Latencies::new();
        self.idle_ns = 0;
        self.interval_end_ns = now.saturating_add(nanos(self.plan.config.interval));
    }

    /// Reports the counts since the last interval and starts the next interval at `end`.
    fn finish_interval(&mut self, end: Nanos) -> Result<(), Halt> {
        let counts = std::mem::take(&mut self.counts);
        self.total_sent += counts.sent;
        self.total_received += counts.received;
        let latencies = Box::new(self.latencies.take());
        self.tell(Message::Interval(IntervalPart {
            index: self.interval,
            end_ns: end - self.counting_since_ns,
            counts,
            latencies,
        }))?;
        self.interval += 1;
        self.interval_end_ns = end.saturating_add(nanos(self.plan.config.interval));
        Ok(())
    }

    /// Waits for packets that have not arrived.
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
}

fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

//! A run: threads, what they tell, and the report.

use std::collections::BTreeMap;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::latency::Latencies;
use crate::pacing::{Nanos, nanos};
use crate::plan::Plan;
use crate::report::{ConnectReport, Counts, Interval, Measured, Progress, Report, ThreadReport};
use crate::worker::{Halt, Message, Worker};

/// Messages that may wait per thread. A thread with more to say waits, and then packets are late,
/// so this is what a slow `progress` costs nothing.
const MESSAGES_PER_THREAD: usize = 64;

/// How often threads are looked at that say nothing.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// How long before the first packet the threads are told to start.
const START_DELAY_NS: Nanos = 5_000_000;

/// Generates the load and measures. `progress` is called from this thread, about once per
/// [`LoadConfig::interval`]; it should return quickly.
///
/// # Errors
/// See [`LoadError`]. Lost packets are a result, not an error.
pub fn run(config: &LoadConfig, progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
    let plan = Plan::new(config)?;
    let (sender, receiver) = bounded(config.threads * MESSAGES_PER_THREAD);
    thread::scope(|scope| {
        let plan = &plan;
        let workers: Vec<_> = (0..config.threads)
            .map(|index| {
                let sender = sender.clone();
                scope.spawn(move || {
                    if let Some(cpu) = plan.cpu_of(index) {
                        // Without it the run works all the same, less evenly.
                        core_affinity::set_for_current(cpu);
                    }
                    Worker::new(plan, index, sender)?.work()
                })
            })
            .collect();
        drop(sender);
        let measured = Supervisor::new(plan, progress).watch(&receiver, &workers);
        // Whoever still works at this point does so in vain: the run failed.
        plan.stop();
        drop(receiver);
        for worker in workers {
            match worker.join() {
                Ok(Ok(()) | Err(Halt::Stopped)) => {}
                Ok(Err(Halt::Failed(error))) => return Err(error),
                Err(_) => return Err(LoadError::ThreadPanicked),
            }
        }
        measured.ok_or(LoadError::ThreadPanicked)
    })
}

type Handle<'scope> = ScopedJoinHandle<'scope, Result<(), Halt>>;

/// What the threads have told so far.
struct Supervisor<'run> {
    plan: &'run Plan<'run>,
    progress: &'run mut dyn FnMut(Progress),
    /// Threads that have connected all their tunnels.
    ready_threads: usize,
    connect: ConnectReport,
    /// Intervals that not all threads have finished: how many have, and what they counted.
    intervals: BTreeMap<u64, (usize, Counts, Latencies)>,
    /// Threads that stopped sending, and the packets they have no reply to.
    draining_threads: usize,
    outstanding: u64,
    counts: Counts,
    latencies: Latencies,
    done: BTreeMap<usize, ThreadReport>,
}

impl<'run> Supervisor<'run> {
    fn new(plan: &'run Plan<'run>, progress: &'run mut dyn FnMut(Progress)) -> Self {
        Self {
            plan,
            progress,
            ready_threads: 0,
            connect: ConnectReport::default(),
            intervals: BTreeMap::new(),
            draining_threads: 0,
            outstanding: 0,
            counts: Counts::default(),
            latencies: Latencies::new(),
            done: BTreeMap::new(),
        }
    }

    /// Listens until all threads are done. `None`: one of them ended before that.
    fn watch(
        mut self,
        receiver: &Receiver<(usize, Message)>,
        workers: &[Handle<'_>],
    ) -> Option<Report> {
        self.tell_connecting();
        while self.done.len() < self.plan.config.threads {
            match receiver.recv_timeout(WATCH_PERIOD) {
                Ok((thread, message)) => self.handle(thread, message),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    if self.ready_threads < self.plan.config.threads {
                        self.tell_connecting();
                    }
                }
            }
            let ended = workers.iter().filter(|worker| worker.is_finished()).count();
            // What an ended thread said last may still wait to be heard.
            if ended > self.done.len() && receiver.is_empty() {
                return None;
            }
        }
        Some(self.into_report())
    }

    fn handle(&mut self, thread: usize, message: Message) {
        match message {
            Message::Connected(connect) => self.handle_connected(connect),
            Message::Interval(index, counts, latencies) => {
                self.handle_interval(index, counts, *latencies);
            }
            Message::Draining(outstanding) => {
                self.draining_threads += 1;
                self.outstanding += outstanding;
                if self.draining_threads == self.plan.config.threads {
                    (self.progress)(Progress::Draining {
                        outstanding: self.outstanding,
                    });
                }
            }
            Message::Done(summary) => {
                self.counts += summary.counts;
                self.latencies.add(summary.latencies);
                self.done.insert(thread, summary.thread);
            }
        }
    }

    fn tell_connecting(&mut self) {
        (self.progress)(Progress::Connecting {
            connected: self.plan.connected(),
            tunnels: self.plan.config.identities.len(),
        });
    }

    /// When the last thread is ready, all begin to send at the same time.
    fn handle_connected(&mut self, connect: ConnectReport) {
        self.connect.tunnels += connect.tunnels;
        self.connect.seconds = self.connect.seconds.max(connect.seconds);
        self.connect.retries += connect.retries;
        self.connect.cookies += connect.cookies;
        self.ready_threads += 1;
        if self.ready_threads == self.plan.config.threads {
            (self.progress)(Progress::Connected(self.connect));
            if !self.plan.config.warm_up.is_zero() {
                (self.progress)(Progress::WarmUp);
            }
            self.plan.start_sending(self.plan.now() + START_DELAY_NS);
        }
    }

    fn handle_interval(&mut self, index: u64, counts: Counts, latencies: Latencies) {
        let (finished, all_counts, all_latencies) = self
            .intervals
            .entry(index)
            .or_insert_with(|| (0, Counts::default(), Latencies::new()));
        *finished += 1;
        *all_counts += counts;
        all_latencies.add(latencies);
        if *finished == self.plan.config.threads
            && let Some((_, counts, latencies)) = self.intervals.remove(&index)
        {
            let interval = self.interval(index, counts, &latencies);
            self.counts += counts;
            self.latencies.add(latencies);
            if interval.seconds > 0.0 {
                (self.progress)(Progress::Interval(interval));
            }
        }
    }

    fn interval(&self, index: u64, counts: Counts, latencies: &Latencies) -> Interval {
        let config = self.plan.config;
        let start = nanos(config.interval).saturating_mul(index);
        let end = start
            .saturating_add(nanos(config.interval))
            .min(nanos(config.duration));
        let seconds = end.saturating_sub(start) as f64 / 1e9;
        Interval {
            end_seconds: end as f64 / 1e9,
            seconds,
            sent_pps: counts.sent as f64 / seconds,
            received_pps: counts.received as f64 / seconds,
            counts,
            latency: latencies.histogram().summary(),
        }
    }

    fn into_report(self) -> Report {
        let config = self.plan.config;
        Report::new(Measured {
            gateway: config.gateway,
            size_bytes: config.size,
            train: config.effective_train(),
            connect: self.connect,
            sending: config.duration,
            offered_pps: self.plan.offered_pps(),
            counts: self.counts,
            latency: self.latencies.histogram(),
            threads: self.done.into_values().collect(),
        })
    }
}

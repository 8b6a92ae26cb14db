//! Generator threads: their orders, their messages, and the report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::latency::Latencies;
use crate::pacing::{Nanos, nanos};
use crate::plan::Plan;
use crate::ramp::StepCounts;
use crate::report::{ConnectReport, Counts, Interval, Measured, Progress, Report, ThreadReport};
use crate::trial::{Trial, TrialOrder};
use crate::worker::{Halt, Message, Worker};

/// Capacity of the message channel per thread. A thread with a full channel blocks, and its packets are late, so this
/// is the delay in `progress` that a run tolerates.
const MESSAGES_PER_THREAD: usize = 64;

/// How often to check for ended threads while no message arrives.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// Time from the start order to the first packet.
const START_DELAY_NS: Nanos = 5_000_000;

/// Connects the tunnels of `config`, runs its one trial and returns the report. `progress` is called on this thread,
/// about once per [`LoadConfig::interval`], and should return quickly.
///
/// # Errors
/// See [`LoadError`]. Lost packets are a result, not an error.
pub fn run(config: &LoadConfig, progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
    with_tunnels(config, progress, |generator| {
        generator.measure(&config.trial())
    })
}

/// Connects the tunnels of `config` and calls `work`, which may measure any number of times. The tunnels stay connected
/// until `work` returns. `progress` is called as by [`run`].
///
/// # Errors
/// Returns [`LoadError`]s of its own and of `work`.
pub fn with_tunnels<T>(
    config: &LoadConfig,
    progress: &mut dyn FnMut(Progress),
    work: impl FnOnce(&mut Generator<'_>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let plan = Plan::new(config)?;
    let (sender, receiver) = bounded(config.threads * MESSAGES_PER_THREAD);
    thread::scope(|scope| {
        let plan = &plan;
        let mut orders = Vec::new();
        let workers: Vec<_> = (0..config.threads)
            .map(|index| {
                let sender = sender.clone();
                let (order_sender, order_receiver) = bounded(1);
                orders.push(order_sender);
                scope.spawn(move || {
                    if let Some(cpu) = plan.cpu_of(index) {
                        // Pinning is optional: without it the run is less even.
                        core_affinity::set_for_current(cpu);
                    }
                    Worker::new(plan, index, order_receiver, sender)?.work()
                })
            })
            .collect();
        drop(sender);
        let mut generator = Generator {
            plan,
            progress,
            orders,
            receiver,
            has_ended: &|| workers.iter().any(|worker| worker.is_finished()),
            connect: ConnectReport::default(),
        };
        // Stops the threads at the end, also after a panic in the caller's code: the scope waits for them.
        let stop_at_end = StopAtEnd(plan);
        let result = generator.connect().and_then(|()| work(&mut generator));
        drop(stop_at_end);
        drop(generator);
        for worker in workers {
            match worker.join() {
                Ok(Ok(()) | Err(Halt::Stopped)) => {}
                Ok(Err(Halt::Failed(error))) => return Err(error),
                Err(_) => return Err(LoadError::ThreadPanicked),
            }
        }
        result
    })
}

struct StopAtEnd<'plan>(&'plan Plan<'plan>);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Generator threads with connected tunnels; see [`with_tunnels`].
pub struct Generator<'run> {
    plan: &'run Plan<'run>,
    progress: &'run mut dyn FnMut(Progress),
    orders: Vec<Sender<Arc<TrialOrder>>>,
    receiver: Receiver<(usize, Message)>,
    /// Returns true if a thread has ended.
    has_ended: &'run dyn Fn() -> bool,
    connect: ConnectReport,
}

/// What the threads have told about a trial.
struct Told {
    trial: Trial,
    /// Threads that are ready to send.
    ready_threads: usize,
    /// How long packets were sent and counted, by the thread that took longest.
    sending_ns: Nanos,
    /// Intervals that not all threads have finished.
    intervals: BTreeMap<u64, ToldInterval>,
    /// Threads that stopped sending, and the packets of theirs that have not arrived.
    draining_threads: usize,
    used_up: bool,
    outstanding: u64,
    counts: Counts,
    latencies: Latencies,
    handshakes: Latencies,
    steps: Vec<StepCounts>,
    done: BTreeMap<usize, ThreadReport>,
}

/// What threads have counted in an interval.
struct ToldInterval {
    /// How many threads have.
    threads: usize,
    /// When it ended, after packets began to be counted.
    end_ns: Nanos,
    counts: Counts,
    latencies: Latencies,
}

impl ToldInterval {
    fn and(mut self, other: Self) -> Self {
        self.threads += other.threads;
        self.end_ns = self.end_ns.max(other.end_ns);
        self.counts += other.counts;
        self.latencies.add(other.latencies);
        self
    }
}

impl Generator<'_> {
    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &LoadConfig {
        self.plan.config
    }

    /// Returns how the tunnels were connected.
    #[must_use]
    pub fn connect_report(&self) -> ConnectReport {
        self.connect
    }

    /// Runs a trial.
    ///
    /// # Errors
    /// See [`LoadError`]. Lost packets are a result, not an error.
    pub fn measure(&mut self, trial: &Trial) -> Result<Report, LoadError> {
        trial.check(self.plan.config)?;
        let order = Arc::new(TrialOrder::new(*trial));
        for orders in &self.orders {
            // An ended thread has failed; joining it returns the cause.
            let _ = orders.send(Arc::clone(&order));
        }
        if self.plan.config.pre_encrypt_bytes.is_some() {
            (self.progress)(Progress::Encrypting);
        }
        let mut told = Told::new(*trial);
        while told.done.len() < self.plan.config.threads {
            if let Some((thread, message)) = self.next_message()? {
                self.handle(&order, &mut told, thread, message);
            }
        }
        told.into_report(self.plan.config, self.connect)
    }

    /// Waits until all tunnels are connected.
    fn connect(&mut self) -> Result<(), LoadError> {
        self.tell_connecting();
        let mut connected_threads = 0;
        while connected_threads < self.plan.config.threads {
            match self.next_message()? {
                Some((_, Message::Connected(connect))) => {
                    connected_threads += 1;
                    self.connect.tunnels += connect.tunnels;
                    self.connect.seconds = self.connect.seconds.max(connect.seconds);
                    self.connect.retries += connect.retries;
                    self.connect.cookies += connect.cookies;
                }
                _ => self.tell_connecting(),
            }
        }
        (self.progress)(Progress::Connected(self.connect));
        Ok(())
    }

    fn tell_connecting(&mut self) {
        (self.progress)(Progress::Connecting {
            connected: self.plan.connected(),
            tunnels: self.plan.config.tunnels(),
        });
    }

    /// Returns the next message, or `None` if no thread sent one for a while. Fails if a thread has ended;
    /// [`with_tunnels`] finds the cause.
    fn next_message(&self) -> Result<Option<(usize, Message)>, LoadError> {
        match self.receiver.recv_timeout(WATCH_PERIOD) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Disconnected) => Err(LoadError::ThreadPanicked),
            // The last messages of an ended thread may still be queued.
            Err(RecvTimeoutError::Timeout) if (self.has_ended)() && self.receiver.is_empty() => {
                Err(LoadError::ThreadPanicked)
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
        }
    }

    fn handle(&mut self, order: &TrialOrder, told: &mut Told, thread: usize, message: Message) {
        let threads = self.plan.config.threads;
        match message {
            Message::Connected(_) => {}
            Message::Ready => {
                told.ready_threads += 1;
                // All threads start to send at the same time, once the last is ready.
                if told.ready_threads == threads {
                    if !told.trial.warm_up.is_zero() {
                        (self.progress)(Progress::WarmUp);
                    }
                    order.start_at(self.plan.now() + START_DELAY_NS);
                }
            }
            Message::Interval {
                index,
                end_ns,
                counts,
                latencies,
            } => {
                let config = self.plan.config;
                let part = ToldInterval {
                    threads: 1,
                    end_ns,
                    counts,
                    latencies: *latencies,
                };
                let interval = told.add_interval(config, index, part);
                if let Some(interval) = interval {
                    (self.progress)(Progress::Interval(interval));
                }
            }
            Message::Draining(outstanding) => {
                told.draining_threads += 1;
                told.outstanding += outstanding;
                if told.draining_threads == threads {
                    (self.progress)(Progress::Draining {
                        outstanding: told.outstanding,
                    });
                }
            }
            Message::Done(summary) => {
                told.used_up |= summary.used_up;
                told.sending_ns = told.sending_ns.max(summary.sending_ns);
                told.counts += summary.counts;
                told.latencies.add(summary.latencies);
                told.handshakes.add(summary.handshakes);
                told.add_steps(&summary.steps);
                told.done.insert(thread, summary.thread);
            }
        }
    }
}

impl Told {
    fn new(trial: Trial) -> Self {
        Self {
            trial,
            ready_threads: 0,
            sending_ns: 0,
            intervals: BTreeMap::new(),
            draining_threads: 0,
            used_up: false,
            outstanding: 0,
            counts: Counts::default(),
            latencies: Latencies::new(),
            handshakes: Latencies::new(),
            steps: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    /// Adds what a thread counted in the steps of a ramp.
    fn add_steps(&mut self, steps: &[StepCounts]) {
        self.steps.resize(steps.len(), StepCounts::default());
        for (sum, step) in self.steps.iter_mut().zip(steps) {
            sum.sent += step.sent;
            sum.received += step.received;
        }
    }

    /// Adds what a thread counted in an interval; returns it when it is complete.
    fn add_interval(
        &mut self,
        config: &LoadConfig,
        index: u64,
        part: ToldInterval,
    ) -> Option<Interval> {
        let told = match self.intervals.remove(&index) {
            Some(told) => told.and(part),
            None => part,
        };
        if told.threads < config.threads {
            self.intervals.insert(index, told);
            return None;
        }
        let start = nanos(config.interval).saturating_mul(index);
        let seconds = told.end_ns.saturating_sub(start) as f64 / 1e9;
        let interval = Interval {
            end_seconds: told.end_ns as f64 / 1e9,
            seconds,
            sent_pps: told.counts.sent as f64 / seconds,
            received_pps: told.counts.received as f64 / seconds,
            counts: told.counts,
            latency: told.latencies.histogram().summary(),
        };
        self.add(told);
        (seconds > 0.0).then_some(interval)
    }

    fn add(&mut self, told: ToldInterval) {
        self.counts += told.counts;
        self.latencies.add(told.latencies);
    }

    /// The result; an error when nothing was measured.
    fn into_report(
        mut self,
        config: &LoadConfig,
        connect: ConnectReport,
    ) -> Result<Report, LoadError> {
        if self.sending_ns == 0 {
            return Err(match self.used_up && !config.stop.is_set() {
                true => LoadError::UsedUpInWarmUp,
                false => LoadError::Interrupted,
            });
        }
        // Threads that were told to stop may have done so in different intervals.
        for told in std::mem::take(&mut self.intervals).into_values() {
            self.add(told);
        }
        Ok(Report::new(Measured {
            gateway: config.gateway,
            direction: config.direction.kind(),
            size_bytes: config.mean_size(),
            train: config.effective_train(),
            connect,
            sending: Duration::from_nanos(self.sending_ns),
            interrupted: config.stop.is_set(),
            used_up: self.used_up,
            offered_pps: self.trial.offered_pps(),
            counts: self.counts,
            latency: self.latencies.histogram(),
            handshake: self.handshakes.histogram().summary(),
            steps: self.trial.steps(&self.steps),
            threads: self.done.into_values().collect(),
        }))
    }
}

//! Generator threads: their orders, their messages, and the report.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::collected::Collected;
use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::pacing::Nanos;
use crate::plan::Plan;
use crate::report::{ConnectReport, Progress, Report};
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
/// Returns a [`LoadError`], possibly from `work`.
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
        let mut collected = Collected::new(*trial);
        while collected.done.len() < self.plan.config.threads {
            if let Some((thread, message)) = self.next_message()? {
                self.handle(&order, &mut collected, thread, message);
            }
        }
        collected.into_report(self.plan.config, self.connect)
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

    fn handle(
        &mut self,
        order: &TrialOrder,
        collected: &mut Collected,
        thread: usize,
        message: Message,
    ) {
        let config = self.plan.config;
        match message {
            Message::Connected(_) => {}
            Message::Ready => {
                collected.ready_threads += 1;
                // All threads start to send at the same time, once the last is ready.
                if collected.ready_threads == config.threads {
                    if !order.trial.warm_up.is_zero() {
                        (self.progress)(Progress::WarmUp);
                    }
                    order.start_at(self.plan.now() + START_DELAY_NS);
                }
            }
            Message::Interval(part) => {
                if let Some(interval) = collected.add_interval(config, part) {
                    (self.progress)(Progress::Interval(interval));
                }
            }
            Message::Draining(outstanding) => {
                collected.draining_threads += 1;
                collected.outstanding += outstanding;
                if collected.draining_threads == config.threads {
                    let outstanding = collected.outstanding;
                    (self.progress)(Progress::Draining { outstanding });
                }
            }
            Message::Done(summary) => collected.finish_thread(thread, *summary),
        }
    }
}

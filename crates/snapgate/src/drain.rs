//! Draining: the gateway creates no new tunnels, and serves the existing ones until none of them is active.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::mailbox::{ActiveTunnels, Message, Postbox};

/// Interval at which the workers are asked for their active tunnels.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// Result of a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// No tunnel is active.
    Idle,
    /// The timeout has passed.
    TimedOut {
        /// Number of tunnels that are still active; `None` if a worker did not answer.
        active_tunnels: Option<usize>,
    },
}

/// A gateway that drains: the number of its active tunnels.
pub(crate) struct Drain {
    workers: Vec<Postbox>,
    idle_after: Duration,
    /// Sender of the last question, kept so that the channel stays open.
    answer: Sender<ActiveTunnels>,
    answers: Receiver<ActiveTunnels>,
    /// Active tunnels by worker, as far as the workers have answered.
    active: Vec<Option<usize>>,
}

impl Drain {
    /// Makes the workers drain, by the first question.
    pub(crate) fn begin(workers: Vec<Postbox>, idle_after: Duration) -> Self {
        let (answer, answers) = crossbeam_channel::bounded(workers.len());
        let mut drain = Self {
            active: Vec::new(),
            answer,
            answers,
            workers,
            idle_after,
        };
        drain.ask();
        drain
    }

    /// Asks every worker for the number of tunnels that carried data recently. Never waits: a worker whose mailbox is
    /// full is skipped this time.
    pub(crate) fn ask(&mut self) {
        // Late answers to the previous question are lost.
        (self.answer, self.answers) = crossbeam_channel::bounded(self.workers.len());
        self.active = vec![None; self.workers.len()];
        for worker in &mut self.workers {
            let question = Message::Drain {
                idle_after: self.idle_after,
                answer: self.answer.clone(),
            };
            // A worker that cannot be woken reports a failure itself.
            let _asked = worker.put(question).is_ok() && worker.wake().is_ok();
        }
    }

    /// Returns the receiver of the answers.
    pub(crate) fn answers(&self) -> &Receiver<ActiveTunnels> {
        &self.answers
    }

    /// Notes an answer. Once every worker has answered, returns the number of active tunnels.
    pub(crate) fn note(&mut self, answer: &ActiveTunnels) -> Option<usize> {
        if let Some(active) = self.active.get_mut(answer.worker) {
            *active = Some(answer.tunnels);
        }
        self.active.iter().copied().sum()
    }

    /// Waits until no tunnel is active, at most until `deadline`, if there is one.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Drained {
        let mut active_tunnels = None;
        let mut ask_at = Instant::now() + ASK_INTERVAL;
        loop {
            let until = deadline.map_or(ask_at, |end| ask_at.min(end));
            match self.answers.recv_deadline(until) {
                Ok(answer) => {
                    active_tunnels = self.note(&answer).or(active_tunnels);
                    if active_tunnels == Some(0) {
                        return Drained::Idle;
                    }
                }
                Err(_) if deadline.is_some_and(|end| Instant::now() >= end) => {
                    return Drained::TimedOut { active_tunnels };
                }
                Err(_) => {
                    self.ask();
                    ask_at = Instant::now() + ASK_INTERVAL;
                }
            }
        }
    }
}

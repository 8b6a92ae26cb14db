//! The end of a gateway that its clients do not notice: it makes no new tunnels, and serves the others until
//! none of them talks.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::mailbox::{Message, Postbox, TalkingTunnels};

/// A gateway that drains: how many tunnels still talk.
pub(crate) struct Drain {
    workers: Vec<Postbox>,
    idle_after: Duration,
    /// For the question asked last; kept here too, so that the channel stays open.
    answer: Sender<TalkingTunnels>,
    answers: Receiver<TalkingTunnels>,
    /// By worker, those that have answered.
    talking: Vec<Option<usize>>,
}

impl Drain {
    /// Makes the workers drain, by the first question.
    pub(crate) fn begin(workers: Vec<Postbox>, idle_after: Duration) -> Self {
        let (answer, answers) = crossbeam_channel::bounded(workers.len());
        let mut drain = Self {
            talking: Vec::new(),
            answer,
            answers,
            workers,
            idle_after,
        };
        drain.ask();
        drain
    }

    /// Asks every worker in how many tunnels data passed lately. Never waits: a worker whose mailbox is full
    /// is not asked this time.
    pub(crate) fn ask(&mut self) {
        // Late answers to the question before go nowhere.
        (self.answer, self.answers) = crossbeam_channel::bounded(self.workers.len());
        self.talking = vec![None; self.workers.len()];
        for worker in &mut self.workers {
            let question = Message::Drain {
                idle_after: self.idle_after,
                answer: self.answer.clone(),
            };
            // A worker that cannot be woken fails, and says so itself.
            let _asked = worker.put(question).is_ok() && worker.wake().is_ok();
        }
    }

    /// Where the answers arrive.
    pub(crate) fn answers(&self) -> &Receiver<TalkingTunnels> {
        &self.answers
    }

    /// Takes in an answer. Once every worker has answered, returns how many tunnels talk.
    pub(crate) fn note(&mut self, answer: &TalkingTunnels) -> Option<usize> {
        if let Some(talking) = self.talking.get_mut(answer.worker) {
            *talking = Some(answer.tunnels);
        }
        self.talking.iter().copied().sum()
    }
}

//! Packets of a trial that were encrypted before they are sent.
//!
//! Their stamps cannot say when they are due: they hold the number of the train, and when that was
//! due is noted here when it leaves.

use std::collections::VecDeque;

use ana_gotatun::packet::Packet;

use crate::pacing::Nanos;

/// A train that is ready to leave.
pub(super) struct PreparedTrain {
    pub(super) lane: usize,
    pub(super) packets: Vec<Packet>,
}

/// The packets of a trial.
pub(super) struct Prepared {
    trains: VecDeque<PreparedTrain>,
    /// When each train was due that has left, by its number.
    due_ns: Vec<Nanos>,
}

impl Prepared {
    pub(super) fn new(trains: VecDeque<PreparedTrain>) -> Self {
        Self {
            due_ns: Vec::with_capacity(trains.len()),
            trains,
        }
    }

    /// Whether all trains have left.
    pub(super) fn is_used_up(&self) -> bool {
        self.trains.is_empty()
    }

    /// Takes the next train.
    pub(super) fn next_train(&mut self, due: Nanos) -> Option<PreparedTrain> {
        let train = self.trains.pop_front()?;
        self.due_ns.push(due);
        Some(train)
    }

    /// When the train with this number was due.
    pub(super) fn due_ns(&self, number: u64) -> Option<Nanos> {
        self.due_ns.get(usize::try_from(number).ok()?).copied()
    }
}

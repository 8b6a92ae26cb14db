//! Packets of a trial that are encrypted before they are sent.
//!
//! Their stamps hold the number of the train instead of the scheduled time, which is stored here when the train leaves.

use std::collections::VecDeque;

use ana_gotatun::packet::Packet;

use crate::pacing::Nanos;

/// A train that is ready to leave.
pub(super) struct PreparedTrain {
    pub(super) lane: usize,
    pub(super) packets: Vec<Packet>,
}

/// Pre-encrypted packets of a trial.
pub(super) struct Prepared {
    trains: VecDeque<PreparedTrain>,
    /// Scheduled time of each train that has left, by its number.
    due_ns: Vec<Nanos>,
}

impl Prepared {
    pub(super) fn new(trains: VecDeque<PreparedTrain>) -> Self {
        Self {
            due_ns: Vec::with_capacity(trains.len()),
            trains,
        }
    }

    /// Returns true if all trains have left.
    pub(super) fn is_used_up(&self) -> bool {
        self.trains.is_empty()
    }

    /// Returns the next train, which is sent for the scheduled time `due`.
    pub(super) fn next_train(&mut self, due: Nanos) -> Option<PreparedTrain> {
        let train = self.trains.pop_front()?;
        self.due_ns.push(due);
        Some(train)
    }

    /// Returns the scheduled time of the train with this number.
    pub(super) fn due_ns(&self, number: u64) -> Option<Nanos> {
        self.due_ns.get(usize::try_from(number).ok()?).copied()
    }
}

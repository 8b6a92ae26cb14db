//! Precise waiting that leaves the CPU idle.

use std::time::Duration;

use super::message::Halt;
use super::{TICK_NS, Worker};
use crate::error::ConnectFailure;
use crate::pacing::Nanos;

/// Usual time for waking a thread. Shorter waits are busy waits.
const WAKE_UP_NS: Nanos = 60_000;

impl Worker<'_> {
    /// Waits for an event or until `wake_ns`; does not wait while work is left.
    pub(super) fn wait(&mut self, wake_ns: Nanos) -> Result<(), Halt> {
        let before = self.plan.now();
        let mut wake_ns = wake_ns.min(self.next_timers_ns);
        if self.ports.has_blocked() {
            wake_ns = wake_ns.min(before + TICK_NS);
        }
        let has_work = self.ports.has_readable() || self.timers_due > 0 || wake_ns <= before;
        let sleep_ns = if has_work {
            0
        } else {
            wake_ns.saturating_sub(before + WAKE_UP_NS)
        };
        let lanes = &mut self.lanes;
        self.ports.wait(Duration::from_nanos(sleep_ns), |lane| {
            // Reported as the cause if the tunnel never connects.
            lanes[lane]
                .connecting
                .note_failure(ConnectFailure::NothingListens);
        })?;
        self.now = self.plan.now();
        if !has_work {
            self.idle_ns += self.now - before;
        }
        Ok(())
    }
}

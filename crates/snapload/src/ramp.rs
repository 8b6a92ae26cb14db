//! Ramps: their schedule, and the loss in each step.

use serde::Serialize;

use crate::config::Rate;
use crate::pacing::{Nanos, nanos};
use crate::trial::Trial;

/// Result of one step of a ramp.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Step {
    /// Offered rate, in packets per second.
    pub offered_pps: f64,
    /// Number of packets sent.
    pub sent: u64,
    /// Number of these packets that arrived, at any time.
    pub received: u64,
    /// Share of the sent packets that did not arrive, 0 to 1.
    pub loss_share: f64,
}

/// Counts of one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StepCounts {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Counts packets by the step in which they were due. Counts nothing without a ramp.
#[derive(Debug, Default)]
pub(crate) struct RampCounter {
    start_ns: Nanos,
    step_ns: Nanos,
    steps: Vec<StepCounts>,
}

impl RampCounter {
    pub(crate) fn note_sent(&mut self, scheduled: Nanos, packets: u32) {
        if let Some(step) = self.step_of(scheduled) {
            step.sent += u64::from(packets);
        }
    }

    pub(crate) fn note_received(&mut self, scheduled: Nanos) {
        if let Some(step) = self.step_of(scheduled) {
            step.received += 1;
        }
    }

    fn step_of(&mut self, scheduled: Nanos) -> Option<&mut StepCounts> {
        let since_start = scheduled.checked_sub(self.start_ns)?;
        let last = self.steps.len().checked_sub(1)?;
        // The division leaves some nanoseconds over, which belong to the last step.
        let index = (since_start.checked_div(self.step_ns)? as usize).min(last);
        self.steps.get_mut(index)
    }

    pub(crate) fn into_steps(self) -> Vec<StepCounts> {
        self.steps
    }
}

impl Trial {
    /// Returns the rates of a ramp over all tunnels, each with its duration.
    pub(crate) fn ramp(&self) -> Vec<(f64, Nanos)> {
        let Rate::Ramp { from, to, steps } = self.rate else {
            return Vec::new();
        };
        let step_ns = nanos(self.duration) / u64::from(steps.get());
        let rise = (to - from) / f64::from((steps.get() - 1).max(1));
        let mut rates: Vec<_> = (0..steps.get())
            .map(|index| (from + f64::from(index) * rise, step_ns))
            .collect();
        rates[0].1 += nanos(self.warm_up);
        rates
    }

    /// Returns a counter for packets that are due from `start` on.
    pub(crate) fn ramp_counter(&self, start: Nanos) -> RampCounter {
        let steps = self.ramp().len();
        RampCounter {
            start_ns: start,
            step_ns: nanos(self.duration) / steps.max(1) as u64,
            steps: vec![StepCounts::default(); steps],
        }
    }

    /// Returns the steps with the counts of all threads.
    pub(crate) fn steps(&self, counts: &[StepCounts]) -> Vec<Step> {
        self.ramp()
            .into_iter()
            .zip(counts)
            .map(|((offered_pps, _), counts)| Step {
                offered_pps,
                sent: counts.sent,
                received: counts.received,
                loss_share: counts.sent.saturating_sub(counts.received) as f64
                    / counts.sent.max(1) as f64,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trial() -> Trial {
        Trial {
            rate: Rate::Ramp {
                from: 100.0,
                to: 300.0,
                steps: 3.try_into().unwrap(),
            },
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(6),
        }
    }

    #[test]
    fn warm_up_uses_the_first_rate() {
        let second = 1_000_000_000;
        let wanted = [
            (100.0, 3 * second),
            (200.0, 2 * second),
            (300.0, 2 * second),
        ];
        assert_eq!(trial().ramp(), wanted);
    }

    #[test]
    fn packets_are_counted_in_the_step_in_which_they_were_due() {
        let trial = trial();
        let mut counter = trial.ramp_counter(10);
        counter.note_sent(9, 1);
        counter.note_sent(10, 4);
        counter.note_received(2_000_000_009);
        counter.note_sent(2_000_000_010, 1);
        counter.note_received(6_000_000_010);
        let steps = trial.steps(&counter.into_steps());
        let counts: Vec<_> = steps
            .iter()
            .map(|step| (step.sent, step.received))
            .collect();
        assert_eq!(counts, [(4, 1), (1, 0), (0, 1)]);
        assert_eq!(steps[0].loss_share, 0.75);
    }

    #[test]
    fn without_a_ramp_nothing_is_counted() {
        let mut counter = RampCounter::default();
        counter.note_sent(1, 1);
        counter.note_received(1);
        assert!(counter.into_steps().is_empty());
    }
}

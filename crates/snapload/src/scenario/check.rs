//! Evaluation of the checks of a load.

use super::{Checks, CountName};
use crate::ramp::Step;
use crate::report::Report;

/// Share of a ramp step's packets from which the step counts as lossy: a single packet may be lost for other reasons
/// than the rate.
const LOSSY_SHARE: f64 = 0.001;

impl Checks {
    /// Returns the failed checks, each as a sentence.
    pub(super) fn failed(&self, report: &Report) -> Vec<String> {
        let mut failed = report.failed_checks(&self.run);
        if !report.offered_rate_reached {
            failed.push(format!(
                "the generator sent only {} of {} due packets, so the scenario's load was not reached; use \
                 more CPUs or lower rates",
                report.counts.sent, report.counts.due
            ));
        }
        if let Some(limit) = self.max_connect {
            let slowest = std::time::Duration::from_nanos(report.handshake.max_ns);
            if report.handshake.count == 0 {
                failed
                    .push("no tunnel connected, so the connect time cannot be checked".to_owned());
            } else if slowest > limit {
                failed.push(format!(
                    "the slowest handshake took {slowest:.3?}; the limit is {limit:?}"
                ));
            }
        }
        if let Some(wanted) = self.loss_free_pps {
            let reached = loss_free_pps(&report.steps).unwrap_or(0.0);
            if reached < wanted {
                failed.push(format!(
                    "loss began above {reached:.0} packets/s; expected none up to {wanted:.0} packets/s"
                ));
            }
        }
        for (&name, &limit) in &self.min {
            let (what, count) = name.measured(report);
            if count < limit {
                failed.push(format!("{what}: {count}; the minimum is {limit}"));
            }
        }
        for (&name, &limit) in &self.max {
            let (what, count) = name.measured(report);
            if count > limit {
                failed.push(format!("{what}: {count}; the maximum is {limit}"));
            }
        }
        failed
    }
}

/// Returns the highest rate of a ramp at and below which (nearly) nothing was lost. Steps without packets do not count:
/// an interrupted ramp did not reach them.
pub(super) fn loss_free_pps(steps: &[Step]) -> Option<f64> {
    steps
        .iter()
        .take_while(|step| step.loss_share <= LOSSY_SHARE)
        .filter(|step| step.sent > 0)
        .last()
        .map(|step| step.offered_pps)
}

impl CountName {
    /// Returns the name of the count for people, and its value.
    fn measured(self, report: &Report) -> (&'static str, u64) {
        let counts = &report.counts;
        let connected = report.connect.tunnels as u64 + counts.connected;
        match self {
            Self::Sent => ("packets sent", counts.sent),
            Self::Received => ("packets received", counts.received),
            Self::Lost => ("packets lost", report.lost),
            Self::Duplicated => ("packets duplicated", counts.duplicated),
            Self::Reordered => ("packets reordered", counts.reordered),
            Self::Corrupted => ("packets corrupted", counts.corrupted),
            Self::Misdelivered => ("packets misdelivered", counts.misdelivered),
            Self::Refused => ("datagrams refused", counts.refused),
            Self::Connected => ("tunnels connected", connected),
            Self::Departed => ("tunnels replaced", counts.departed),
            Self::Rekeyed => ("tunnels rekeyed", counts.rekeyed),
            Self::Unconnected => ("tunnels without a session", report.unconnected() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(offered_pps: f64, loss_share: f64) -> Step {
        Step {
            offered_pps,
            sent: 1000,
            received: 1000,
            loss_share,
        }
    }

    #[test]
    fn loss_begins_at_the_first_lossy_step() {
        let steps = [
            step(1.0, 0.0),
            step(2.0, 0.0005),
            step(3.0, 0.1),
            step(4.0, 0.0),
        ];
        assert_eq!(loss_free_pps(&steps), Some(2.0));
        assert_eq!(loss_free_pps(&steps[2..]), None);
    }

    #[test]
    fn step_without_packets_is_not_free_of_loss() {
        let not_reached = Step {
            sent: 0,
            received: 0,
            ..step(2.0, 0.0)
        };
        assert_eq!(loss_free_pps(&[step(1.0, 0.0), not_reached]), Some(1.0));
        assert_eq!(loss_free_pps(&[not_reached]), None);
    }
}

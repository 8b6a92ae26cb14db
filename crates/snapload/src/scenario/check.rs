//! Evaluation of the checks of a load.

use super::{Checks, CountName};
use crate::ramp::Step;
use crate::report::{self, Report};

/// Share of a ramp step's packets from which the step counts as lossy: a single packet may be lost for other reasons
/// than the rate.
const LOSSY_SHARE: f64 = 0.001;

impl Checks {
    /// Returns the failed checks, each as a sentence.
    pub(super) fn failed(&self, report: &Report) -> Vec<String> {
        let of_run = report::Checks {
            max_loss_share: self.max_loss_share,
            max_p99: self.max_p99,
        };
        let mut failed = report.failed_checks(&of_run);
        if !report.offered_rate_reached {
            failed.push(format!(
                "the generator sent only {} of {} packets that were due, so the gateway was not \
                 tested as the scenario wants; use more CPUs or lower rates",
                report.counts.sent, report.counts.due
            ));
        }
        if let Some(limit) = self.max_connect {
            let slowest = std::time::Duration::from_nanos(report.handshake.max_ns);
            if report.handshake.count == 0 {
                failed.push("no tunnel connected, so there is no time to check".to_owned());
            } else if slowest > limit {
                failed.push(format!(
                    "the slowest handshake took {slowest:.3?}, more than the {limit:?} allowed"
                ));
            }
        }
        if let Some(wanted) = self.loss_free_pps {
            let reached = loss_free_pps(&report.steps).unwrap_or(0.0);
            if reached < wanted {
                failed.push(format!(
                    "packets were lost at rates above {reached:.0} a second, which should be free \
                     of loss up to {wanted:.0}"
                ));
            }
        }
        for (&name, &limit) in &self.min {
            let count = name.of(report);
            if count < limit {
                failed.push(format!(
                    "{} {count}, less than the {limit} wanted",
                    name.words()
                ));
            }
        }
        for (&name, &limit) in &self.max {
            let count = name.of(report);
            if count > limit {
                failed.push(format!(
                    "{} {count}, more than the {limit} allowed",
                    name.words()
                ));
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
    fn of(self, report: &Report) -> u64 {
        let counts = &report.counts;
        match self {
            Self::Sent => counts.sent,
            Self::Received => counts.received,
            Self::Lost => report.lost,
            Self::Duplicated => counts.duplicated,
            Self::Reordered => counts.reordered,
            Self::Corrupted => counts.corrupted,
            Self::Misdelivered => counts.misdelivered,
            Self::Refused => counts.refused,
            Self::Connected => report.connect.tunnels as u64 + counts.connected,
            Self::Departed => counts.departed,
            Self::Rekeyed => counts.rekeyed,
            Self::Unconnected => report.unconnected() as u64,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Sent => "packets sent:",
            Self::Received => "packets received:",
            Self::Lost => "packets lost:",
            Self::Duplicated => "packets duplicated:",
            Self::Reordered => "packets reordered:",
            Self::Corrupted => "packets corrupted:",
            Self::Misdelivered => "packets misdelivered:",
            Self::Refused => "datagrams refused:",
            Self::Connected => "tunnels connected:",
            Self::Departed => "tunnels departed:",
            Self::Rekeyed => "tunnels rekeyed:",
            Self::Unconnected => "tunnels without session at the end:",
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

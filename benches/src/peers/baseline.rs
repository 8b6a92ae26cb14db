//! Comparison with an older build of snapgate.
//!
//! A round measures both builds directly one after the other, in alternating order, so that a drift of the machine and
//! the advantage of a position cancel. The verdict depends on the confidence interval of the median ratio.

use serde::Serialize;

use crate::harness::error::BenchError;
use crate::harness::limit::{Limit, Verdict};
use crate::harness::run::Build;
use crate::statistics::{INTERVAL_VALUES_MIN, MedianInterval, Spread};

/// Maximum ratio to the baseline.
const RATIO_MAX: f64 = 1.03;

/// Measurements of both builds.
#[derive(Debug)]
pub(crate) struct Sides<T> {
    has_baseline: bool,
    /// One value per round.
    pub(crate) new: Vec<T>,
    /// One value per round; empty without a baseline.
    pub(crate) baseline: Vec<T>,
}

impl<T> Sides<T> {
    pub(crate) fn new(has_baseline: bool) -> Self {
        Self {
            has_baseline,
            new: Vec::new(),
            baseline: Vec::new(),
        }
    }

    /// Measures a round: the new build, and the baseline directly before or after it. Odd rounds begin with the new
    /// build, even rounds with the baseline.
    pub(crate) fn measure(
        &mut self,
        mut measure: impl FnMut(Build) -> Result<T, BenchError>,
    ) -> Result<(), BenchError> {
        let order: &[Build] = match (self.has_baseline, self.new.len() % 2) {
            (false, _) => &[Build::New],
            (true, 0) => &[Build::New, Build::Baseline],
            (true, _) => &[Build::Baseline, Build::New],
        };
        for &build in order {
            let value = measure(build)?;
            match build {
                Build::New => self.new.push(value),
                Build::Baseline => self.baseline.push(value),
            }
        }
        Ok(())
    }

    /// Maps every value.
    pub(crate) fn map<U>(&self, figure: impl Fn(&T) -> U) -> Sides<U> {
        Sides {
            has_baseline: self.has_baseline,
            new: self.new.iter().map(&figure).collect(),
            baseline: self.baseline.iter().map(&figure).collect(),
        }
    }
}

/// Comparison of a value with the baseline. Less is better.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgainstBaseline {
    /// Value of the baseline.
    pub(crate) value: Spread,
    /// New divided by baseline, per round.
    ratios: Vec<f64>,
    pub(crate) ratio: Spread,
    /// Confidence interval of the median ratio; `None` with fewer than 6 rounds.
    pub(crate) interval: Option<MedianInterval>,
    /// Maximum of the ratio.
    limit: f64,
    pub(crate) verdict: Verdict,
}

/// Returns the verdict on [`RATIO_MAX`], which is undecided if the interval contains it.
fn verdict(interval: Option<MedianInterval>) -> Verdict {
    match interval {
        Some(interval) if interval.high <= RATIO_MAX => Verdict::Holds,
        Some(interval) if interval.low > RATIO_MAX => Verdict::DoesNotHold,
        _ => Verdict::NotEnoughRounds,
    }
}

impl AgainstBaseline {
    /// Compares the rounds of both builds; `None` without a baseline.
    pub(crate) fn of(sides: &Sides<f64>) -> Option<Self> {
        let ratios: Vec<f64> = sides
            .new
            .iter()
            .zip(&sides.baseline)
            .map(|(new, baseline)| new / baseline)
            .collect();
        let interval = MedianInterval::of(ratios.iter().copied());
        Some(Self {
            value: Spread::of(sides.baseline.iter().copied())?,
            ratio: Spread::of(ratios.iter().copied())?,
            ratios,
            interval,
            limit: RATIO_MAX,
            verdict: verdict(interval),
        })
    }

    /// Returns the limit, for the table.
    pub(crate) fn bound_text(&self) -> String {
        Limit::AtMost(self.limit).to_string()
    }

    /// Returns the median ratio with its interval in square brackets, or else with its range in parentheses.
    pub(crate) fn ratio_text(&self) -> String {
        let Spread { median, min, max } = self.ratio;
        match self.interval {
            Some(MedianInterval { low, high, .. }) => {
                format!("{median:.3} [{low:.3}–{high:.3}]")
            }
            None => format!("{median:.3} ({min:.3}–{max:.3})"),
        }
    }

    /// Returns the verdict with its evidence, for a note.
    pub(crate) fn note(&self) -> String {
        let percent = (self.limit - 1.0) * 100.0;
        let verdict = self.verdict.text();
        let rounds = self.ratios.len();
        match self.interval {
            None => format!(
                "within {percent:.0} % of the baseline: {verdict}: an interval needs at least \
                 {INTERVAL_VALUES_MIN} rounds, this run had {rounds}"
            ),
            Some(interval) => {
                let MedianInterval {
                    low,
                    high,
                    confidence,
                } = interval;
                let why = match self.verdict {
                    Verdict::NotEnoughRounds => ": the limit lies in the interval",
                    Verdict::Holds | Verdict::DoesNotHold => "",
                };
                format!(
                    "within {percent:.0} % of the baseline: {verdict}{why} ({:.1} % interval of the \
                     median ratio of {rounds} rounds: {low:.3} to {high:.3})",
                    confidence * 100.0
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(new: &[f64], baseline: &[f64]) -> Sides<f64> {
        Sides {
            has_baseline: true,
            new: new.to_vec(),
            baseline: baseline.to_vec(),
        }
    }

    /// Returns the comparison for `ratios` on a machine that becomes slower from round to round.
    fn against(ratios: &[f64]) -> AgainstBaseline {
        let baseline: Vec<f64> = (1..=ratios.len())
            .map(|round| 1000.0 * round as f64)
            .collect();
        let new: Vec<f64> = ratios
            .iter()
            .zip(&baseline)
            .map(|(ratio, baseline)| ratio * baseline)
            .collect();
        AgainstBaseline::of(&sides(&new, &baseline)).unwrap()
    }

    #[test]
    fn the_order_of_builds_alternates() {
        let mut order = Vec::new();
        let mut sides = Sides::new(true);
        for _ in 0..3 {
            sides
                .measure(|build| {
                    order.push(build);
                    Ok(order.len())
                })
                .unwrap();
        }
        let (new, old) = (Build::New, Build::Baseline);
        assert_eq!(order, [new, old, old, new, new, old]);
        assert_eq!(sides.new, [1, 4, 5]);
        assert_eq!(sides.baseline, [2, 3, 6]);
    }

    #[test]
    fn without_a_baseline_only_the_new_build_is_measured() {
        let mut sides = Sides::new(false);
        for _ in 0..2 {
            sides
                .measure(|build| {
                    assert_eq!(build, Build::New);
                    Ok(1.0)
                })
                .unwrap();
        }
        assert_eq!((sides.new.len(), sides.baseline.len()), (2, 0));
        assert!(AgainstBaseline::of(&sides).is_none());
    }

    #[test]
    fn the_interval_decides_and_not_the_median() {
        for (ratios, verdict) in [
            // With one outlier among nine.
            (
                &[1.0, 1.01, 0.98, 1.02, 0.99, 1.0, 1.01, 1.02, 2.0][..],
                Verdict::Holds,
            ),
            (&[1.04, 1.05, 1.08, 1.06, 1.05, 1.04], Verdict::DoesNotHold),
            (
                &[1.0, 1.01, 0.98, 1.04, 0.99, 1.0],
                Verdict::NotEnoughRounds,
            ),
            (
                &[1.02, 1.05, 1.08, 1.06, 1.05, 1.04],
                Verdict::NotEnoughRounds,
            ),
            (&[0.5; 5], Verdict::NotEnoughRounds),
            (&[1.5; 5], Verdict::NotEnoughRounds),
        ] {
            assert_eq!(against(ratios).verdict, verdict, "{ratios:?}");
        }
    }

    #[test]
    fn note_has_the_minimum_number_of_rounds() {
        assert_eq!(
            against(&[1.0; 3]).note(),
            "within 3 % of the baseline: not enough rounds: an interval needs at least 6 rounds, this run had 3"
        );
    }

    #[test]
    fn note_has_the_evidence_of_the_verdict() {
        assert_eq!(
            against(&[1.0, 1.01, 0.98, 1.02, 0.99, 1.0]).note(),
            "within 3 % of the baseline: holds (96.9 % interval of the median ratio of 6 rounds: \
             0.980 to 1.020)"
        );
        assert_eq!(
            against(&[1.0, 1.01, 0.98, 1.04, 0.99, 1.0]).note(),
            "within 3 % of the baseline: not enough rounds: the limit lies in the interval (96.9 % \
             interval of the median ratio of 6 rounds: 0.980 to 1.040)"
        );
    }
}

//! Results by rate, and the choice of the next rate.

/// Number of trials whose majority decides on a rate for the time being.
const TRIALS: usize = 3;

/// Number of trials whose majority decides on the two rates of the result.
const TRIALS_OF_RESULT: usize = 7;

/// Factor between the first two rates: the range that short trials leave open.
const FIRST_FACTOR: f64 = 1.2;

/// Largest factor between rates, until one holds and another does not.
const LARGEST_FACTOR: f64 = 4.0;

/// Verdict of a trial on its rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Verdict {
    /// Share of the packets that were lost, 0 to 1.
    Lost(f64),
    /// No verdict, because the generator did not keep up.
    GeneratorTooSlow,
}

impl Verdict {
    /// Returns true if the rate holds for a loss target.
    pub(super) fn holds(self, loss_target: f64) -> bool {
        matches!(self, Self::Lost(share) if share <= loss_target)
    }

    pub(super) fn is_generator_limited(self) -> bool {
        self == Self::GeneratorTooSlow
    }
}

/// Next step of a search.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Step {
    /// Run a trial at this rate.
    Try(f64),
    /// End with the highest rate that holds and the lowest that does not.
    Done {
        lower: Option<f64>,
        upper: Option<f64>,
    },
}

/// All trials so far, by rate. They count for every loss target.
#[derive(Debug)]
pub(super) struct Bracket {
    min: f64,
    max: f64,
    precision: f64,
    first: f64,
    /// In ascending order of rates.
    rates: Vec<(f64, Vec<Verdict>)>,
}

impl Bracket {
    /// Creates a search from `min` to `max`. It ends when the lower and upper ends are at most the share `precision` of
    /// the lower apart.
    pub(super) fn new(min: f64, max: f64, precision: f64) -> Self {
        Self {
            min,
            max,
            precision,
            first: min,
            rates: Vec::new(),
        }
    }

    /// Returns true if there was no trial.
    pub(super) fn is_empty(&self) -> bool {
        self.rates.is_empty()
    }

    /// Sets the first rate to try.
    pub(super) fn begin_at(&mut self, pps: f64) {
        self.first = pps.clamp(self.min, self.max);
    }

    /// Adds the verdict of a trial.
    pub(super) fn add(&mut self, pps: f64, verdict: Verdict) {
        let index = self.rates.partition_point(|&(rate, _)| rate < pps);
        match self.rates.get_mut(index) {
            Some((rate, verdicts)) if *rate == pps => verdicts.push(verdict),
            _ => self.rates.insert(index, (pps, vec![verdict])),
        }
    }

    /// Returns true if the generator was too slow to test the gateway at this rate.
    pub(super) fn is_generator_limited(&self, pps: f64) -> bool {
        let verdicts = self.verdicts(pps);
        let generators = verdicts
            .iter()
            .filter(|verdict| verdict.is_generator_limited());
        2 * generators.count() > verdicts.len()
    }

    fn verdicts(&self, pps: f64) -> &[Verdict] {
        self.rates
            .iter()
            .find(|(rate, _)| *rate == pps)
            .map_or(&[], |(_, verdicts)| verdicts)
    }

    /// Returns the next step for a loss target.
    pub(super) fn next_step(&self, loss_target: f64) -> Step {
        let is_decided = |pps: f64, trials: usize| -> Option<bool> {
            decided(self.verdicts(pps), loss_target, trials)
        };
        // A rate without enough trials gets another.
        let undecided = self
            .rates
            .iter()
            .find(|(pps, _)| is_decided(*pps, TRIALS).is_none());
        if let Some((pps, verdicts)) = undecided
            && self.can_change_result(*pps, loss_target)
            && !verdicts.is_empty()
        {
            return Step::Try(*pps);
        }
        let (lower, upper) = self.ends(loss_target);
        match (lower, upper) {
            (None, None) => return Step::Try(self.first),
            (Some(lower), None) if lower < self.max => {
                return Step::Try((lower * self.stride(lower)).min(self.max));
            }
            (None, Some(upper)) if upper > self.min => {
                return Step::Try((upper / self.stride(upper)).max(self.min));
            }
            (Some(lower), Some(upper)) if upper > lower * (1.0 + self.precision) => {
                return Step::Try((lower * upper).sqrt());
            }
            _ => {}
        }
        // Both ends are tried again. If one fails, the search continues.
        [lower, upper]
            .into_iter()
            .flatten()
            .find(|&pps| is_decided(pps, TRIALS_OF_RESULT).is_none())
            .map_or(Step::Done { lower, upper }, Step::Try)
    }

    /// Returns the factor to the next rate while there is only one end. It grows with the distance from the first rate.
    fn stride(&self, pps: f64) -> f64 {
        let ratio = pps / self.first;
        ratio.max(1.0 / ratio).clamp(FIRST_FACTOR, LARGEST_FACTOR)
    }

    /// Returns true if more trials at this rate can change the result: it lies between the ends of the other rates.
    fn can_change_result(&self, pps: f64, loss_target: f64) -> bool {
        let (lower, upper) = self.ends(loss_target);
        lower.is_none_or(|lower| pps > lower) && upper.is_none_or(|upper| pps < upper)
    }

    /// Returns the highest rate that holds below the lowest that does not, and the latter. As in MLRsearch, a rate that
    /// holds above one that does not is ignored.
    fn ends(&self, loss_target: f64) -> (Option<f64>, Option<f64>) {
        let is_held = |(pps, verdicts): &(f64, Vec<Verdict>)| {
            decided(verdicts, loss_target, TRIALS).map(|holds| (*pps, holds))
        };
        let mut lower = None;
        for (pps, holds) in self.rates.iter().filter_map(is_held) {
            if !holds {
                return (lower, Some(pps));
            }
            lower = Some(pps);
        }
        (lower, None)
    }
}

/// Returns whether a rate holds by the majority of at least `trials` trials; `None` while further trials could change
/// it.
fn decided(verdicts: &[Verdict], loss_target: f64, trials: usize) -> Option<bool> {
    let holding = verdicts
        .iter()
        .filter(|verdict| verdict.holds(loss_target))
        .count();
    let failing = verdicts.len() - holding;
    let missing = trials.saturating_sub(verdicts.len());
    if holding > failing + missing {
        Some(true)
    } else if failing > holding + missing {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::split_mix;

    /// Returns the loss at a gateway with this capacity. A disturbed trial loses at least 2 %.
    fn trial(pps: f64, capacity: f64, is_disturbed: bool) -> Verdict {
        let excess = (1.0 - capacity / pps).max(0.0);
        Verdict::Lost(if is_disturbed {
            excess.max(0.02)
        } else {
            excess
        })
    }

    /// Runs a search to its end. `is_disturbed` gets the rate and its number of trials so far.
    fn search(
        capacity: f64,
        loss_target: f64,
        mut is_disturbed: impl FnMut(f64, usize) -> bool,
    ) -> (Bracket, Ends, usize) {
        let mut bracket = Bracket::new(1e3, 1e6, PRECISION);
        bracket.begin_at(capacity * 0.8);
        for trials in 0..2000 {
            match bracket.next_step(loss_target) {
                Step::Try(pps) => {
                    let is_disturbed = is_disturbed(pps, bracket.verdicts(pps).len());
                    bracket.add(pps, trial(pps, capacity, is_disturbed));
                }
                Step::Done { lower, upper } => return (bracket, (lower, upper), trials),
            }
        }
        panic!("no end");
    }

    /// Runs a search in which each trial is disturbed with this probability.
    fn search_with_share(capacity: f64, disturbed_share: f64, seed: u64) -> (Bracket, Ends, usize) {
        let mut state = seed;
        search(capacity, 0.0, |_, _| {
            state = split_mix(state);
            (state as f64 / u64::MAX as f64) < disturbed_share
        })
    }

    /// Runs a search without disturbances.
    fn search_undisturbed(capacity: f64, loss_target: f64) -> (Ends, usize) {
        let (_, ends, trials) = search(capacity, loss_target, |_, _| false);
        (ends, trials)
    }

    /// Lower and upper end of a result.
    type Ends = (Option<f64>, Option<f64>);

    const PRECISION: f64 = 0.02;

    /// Checks the result of any search for zero loss: it does not exceed the capacity, and the majority of the trials
    /// at each end agrees.
    fn check_result(bracket: &Bracket, ends: Ends, capacity: f64) -> Result<(), TestCaseError> {
        let majority = |pps: f64| decided(bracket.verdicts(pps), 0.0, TRIALS_OF_RESULT);
        let (lower, upper) = ends;
        if let Some(lower) = lower {
            prop_assert!(lower <= capacity, "{} above {}", lower, capacity);
            prop_assert_eq!(majority(lower), Some(true));
        }
        if let Some(upper) = upper {
            prop_assert_eq!(majority(upper), Some(false));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn undisturbed_search_reaches_the_precision(capacity in 2e3..9e5_f64) {
            let (ends, trials) = search_undisturbed(capacity, 0.0);
            let (lower, upper) = (ends.0.unwrap(), ends.1.unwrap());
            prop_assert!(lower <= capacity && upper >= capacity, "{} {}", lower, upper);
            prop_assert!(upper <= lower * (1.001 + PRECISION));
            prop_assert!(trials <= 40, "{}", trials);
        }

        /// This is the guarantee of a majority of seven.
        #[test]
        fn three_disturbed_trials_of_seven_do_not_change_the_result(
            capacity in 2e3..9e5_f64, seed: u64,
        ) {
            // The disturbed trials of seven, drawn for each rate.
            let is_disturbed = |pps: f64, trial: usize| {
                let mut order: Vec<usize> = (0..TRIALS_OF_RESULT).collect();
                let mut state = split_mix(seed ^ pps.to_bits());
                let disturbed = state as usize % (TRIALS_OF_RESULT / 2 + 1);
                for last in (1..order.len()).rev() {
                    state = split_mix(state);
                    order.swap(last, state as usize % (last + 1));
                }
                order[..disturbed].contains(&trial)
            };
            let (bracket, ends, _) = search(capacity, 0.0, is_disturbed);
            check_result(&bracket, ends, capacity)?;
            let (lower, upper) = (ends.0.unwrap(), ends.1.unwrap());
            prop_assert!(upper >= capacity, "{} below {}", upper, capacity);
            prop_assert!(upper <= lower * (1.001 + PRECISION), "{} {}", lower, upper);
        }

        #[test]
        fn disturbed_search_never_exceeds_the_capacity(
            capacity in 2e3..9e5_f64, disturbed_share in 0.0..1.0_f64, seed: u64,
        ) {
            let (bracket, ends, _) = search_with_share(capacity, disturbed_share, seed);
            check_result(&bracket, ends, capacity)?;
        }
    }

    /// Disturbances that have the majority at a rate decide on it: here at four rates in a row, and in four of six
    /// trials at the rate that ends the search. No number of trials excludes that, so only the share of searches that
    /// end far below the capacity is bounded (next test).
    #[test]
    fn search_ends_low_if_disturbances_have_the_majority() {
        let capacity = 329_978.392_988_421_3;
        let (bracket, ends, _) = search_with_share(capacity, 0.17, 11_463_950_003_029_829_860);
        check_result(&bracket, ends, capacity).unwrap();
        let (lower, upper) = (ends.0.unwrap(), ends.1.unwrap());
        assert!((125_000.0..126_000.0).contains(&lower), "{lower}");
        let failed: Vec<bool> = bracket
            .verdicts(upper)
            .iter()
            .map(|verdict| !verdict.holds(0.0))
            .collect();
        assert_eq!(failed, [true, false, true, true, false, true]);
    }

    /// One trial in six is disturbed. The seeds are fixed, so the shares do not vary. Of 1,000,000 searches 4.3 % ended
    /// below the capacity by more than the precision, 1.7 % by a tenth, and 0.002 % by half.
    #[test]
    fn disturbances_seldom_move_the_result() {
        const SEARCHES: usize = 5000;
        let lowest: Vec<f64> = (0..SEARCHES as u64)
            .map(|seed| search_with_share(1e5, 0.17, seed).1.0.unwrap_or(0.0) / 1e5)
            .collect();
        let below = |share: f64| lowest.iter().filter(|&&lower| lower < share).count();
        assert!(below(1.0 - PRECISION) <= SEARCHES * 6 / 100);
        assert!(below(0.9) <= SEARCHES * 3 / 100);
        assert!(below(0.5) <= SEARCHES / 1000);
    }

    #[test]
    fn loss_target_allows_a_higher_rate() {
        let lower = search_undisturbed(1e5, 0.1).0.0.unwrap();
        assert!((1.08e5..=1.12e5).contains(&lower), "{lower}");
    }

    #[test]
    fn gateway_without_limit_holds_the_highest_rate() {
        assert_eq!(search_undisturbed(1e9, 0.0).0, (Some(1e6), None));
    }

    #[test]
    fn gateway_that_always_loses_holds_no_rate() {
        assert_eq!(search_undisturbed(1.0, 0.0).0, (None, Some(1e3)));
    }

    #[test]
    fn trials_for_one_target_count_for_the_next() {
        let mut bracket = Bracket::new(1e3, 1e6, PRECISION);
        bracket.begin_at(8e4);
        let mut trials = [0, 0];
        for (target, count) in [0.0, 0.005].into_iter().zip(&mut trials) {
            while let Step::Try(pps) = bracket.next_step(target) {
                bracket.add(pps, trial(pps, 1e5, false));
                *count += 1;
            }
        }
        assert!(trials[1] < trials[0] / 2, "{trials:?}");
    }

    #[test]
    fn rate_with_a_slow_generator_does_not_hold() {
        let mut bracket = Bracket::new(1e3, 1e6, PRECISION);
        for _ in 0..3 {
            bracket.add(5e5, Verdict::GeneratorTooSlow);
        }
        assert!(bracket.is_generator_limited(5e5));
        assert_eq!(bracket.ends(0.0), (None, Some(5e5)));
    }
}

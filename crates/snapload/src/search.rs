//! Search for the highest rate at a loss target.
//!
//! Trials at one rate after another, with tunnels that stay connected, as in RFC 2544 (section 26.1) and MLRsearch
//! (draft-ietf-bmwg-mlrsearch): first short ones, to find the range, then longer ones, which bisect between the highest
//! rate that holds and the lowest that does not.
//!
//! Other activity on the machine disturbs some trials, which then say nothing about the gateway. So the majority of its
//! trials decides whether a rate holds, and both ends of the result are tried again, which corrects the effect of early
//! disturbances.
//!
//! With a target of zero loss a result is never too high by chance, because a disturbance only adds loss. It is too low
//! when disturbances have the majority of the trials at its upper end: with one trial in six disturbed, 4.3 % of
//! 1,000,000 simulated searches ended below the precision, 1.7 % a tenth too low, and 17 searches at less than half of
//! the capacity. So repeat a search whose result looks low.

mod bracket;

use std::time::{Duration, Instant};

use serde::Serialize;

use self::bracket::{Bracket, Step, Verdict};
use crate::config::{DirectionKind, LoadConfig, Rate};
use crate::error::{ConfigError, LoadError};
use crate::generator::{Generator, with_tunnels};
use crate::report::{ConnectReport, Progress, Report};
use crate::trial::{MAX_RATE_PPS, Trial};

/// Short trials are shorter by this factor.
const SHORT_TRIAL_DIVISOR: u32 = 5;

/// Factor between the rates of short trials while they hold.
const FACTOR_OF_SHORT_TRIALS: f64 = 2.0;

/// Number of bisections after the first short trial that fails.
const SHORT_HALVINGS: u32 = 2;

/// Configuration of a [`search`].
#[derive(Clone, PartialEq, Debug)]
pub struct SearchConfig {
    /// Loss targets: shares of packets that may be lost, 0 to 1. A rate is searched for each.
    pub loss_targets: Vec<f64>,
    /// Lowest rate, in packets per second.
    pub min_pps: f64,
    /// Highest rate, in packets per second.
    pub max_pps: f64,
    /// Duration of the measurement in a trial.
    pub trial: Duration,
    /// Duration of the warm-up of a trial.
    pub warm_up: Duration,
    /// Largest distance at the end between the highest rate that holds and the lowest that does not, as a share of the
    /// former.
    pub precision: f64,
}

impl Default for SearchConfig {
    /// Searches for 0 and 0.5 % loss between 1000 and 10 million packets per second, in trials of 2 seconds, to 2 %.
    fn default() -> Self {
        Self {
            loss_targets: vec![0.0, 0.005],
            min_pps: 1e3,
            max_pps: 1e7,
            trial: Duration::from_secs(2),
            warm_up: Duration::from_millis(200),
            precision: 0.02,
        }
    }
}

/// Progress of a search.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum SearchProgress {
    /// Progress of connecting, or of the current trial.
    Load(Progress),
    /// A trial begins.
    TrialStarts(TrialPlan),
    /// A trial has ended.
    TrialEnded(TrialResult),
    /// The rate for a loss target was found.
    Found(FoundRate),
}

/// Plan of a trial.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TrialPlan {
    /// Number of the trial, counted from 1.
    pub number: u32,
    /// Share of packets that may be lost, 0 to 1.
    pub loss_target: f64,
    /// Offered rate, in packets per second.
    pub offered_pps: f64,
    /// Duration of the measurement, in seconds.
    pub seconds: f64,
}

/// Result of a trial.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TrialResult {
    /// Plan of the trial.
    #[serde(flatten)]
    pub plan: TrialPlan,
    /// Packets sent.
    pub sent: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// `lost` as a share of `sent`, 0 to 1.
    pub loss_share: f64,
    /// 99th percentile of the latencies, in nanoseconds.
    pub p99_ns: u64,
    /// True if the rate holds: the loss is within the target and the generator kept up.
    pub holds: bool,
    /// True if the generator did not keep up.
    pub limited_by_generator: bool,
}

/// Highest rate for a loss target.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct FoundRate {
    /// Share of packets that may be lost, 0 to 1.
    pub loss_target: f64,
    /// Highest rate that holds, in packets per second. `None`: the lowest rate does not hold.
    pub pps: Option<f64>,
    /// Lowest rate that does not hold, in packets per second. `None`: the highest rate holds.
    pub above_pps: Option<f64>,
    /// Bits of SCION packets per second at the rate that holds.
    pub bits_per_second: f64,
    /// True if the gateway may exceed `pps`: the limit was the generator or the highest rate of the search.
    pub is_lower_bound: bool,
    /// Number of trials for this target.
    pub trials: u32,
}

/// Result of a search.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SearchReport {
    /// Direction of the packets.
    pub direction: DirectionKind,
    /// Size of the SCION packets in bytes; the mean for a mix.
    pub size_bytes: usize,
    /// Number of packets sent back to back on one tunnel.
    pub train: u32,
    /// How the tunnels were connected.
    pub connect: ConnectReport,
    /// Rates, in the order of the targets.
    pub found: Vec<FoundRate>,
    /// Number of trials for all targets.
    pub trials: u32,
    /// Duration of the search without connecting, in seconds.
    pub seconds: f64,
}

impl SearchConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let Self {
            min_pps, max_pps, ..
        } = *self;
        if !(min_pps > 0.0 && min_pps < max_pps && max_pps <= MAX_RATE_PPS as f64) {
            return Err(ConfigError::BadRateRange { max: MAX_RATE_PPS });
        }
        if self.loss_targets.is_empty()
            || !self
                .loss_targets
                .iter()
                .all(|share| (0.0..1.0).contains(share))
        {
            return Err(ConfigError::BadLossTarget);
        }
        if !(self.precision >= 0.001 && self.precision <= 1.0) {
            return Err(ConfigError::BadPrecision);
        }
        Ok(())
    }
}

/// Connects the tunnels of `config` and searches for the highest rates. Rate, warm-up and duration of `config` are
/// ignored, except that [`Rate::Max`] sets the default train length.
///
/// # Errors
/// See [`LoadError`]. A loss target for which no rate holds is a result, not an error.
pub fn search(
    config: &LoadConfig,
    search: &SearchConfig,
    progress: &mut dyn FnMut(SearchProgress),
) -> Result<SearchReport, LoadError> {
    search.check()?;
    let progress = std::cell::RefCell::new(progress);
    let tell = |what| (progress.borrow_mut())(what);
    with_tunnels(
        config,
        &mut |progress| tell(SearchProgress::Load(progress)),
        |generator| {
            let started = Instant::now();
            let mut run = SearchRun {
                search,
                generator,
                tell: &tell,
                trials: 0,
            };
            let mut bracket = Bracket::new(search.min_pps, search.max_pps, search.precision);
            let mut found = Vec::new();
            for &loss_target in &search.loss_targets {
                let rate = run.find(&mut bracket, loss_target)?;
                tell(SearchProgress::Found(rate));
                found.push(rate);
            }
            Ok(SearchReport {
                direction: config.direction.kind(),
                size_bytes: config.mean_size(),
                train: config.effective_train(),
                connect: run.generator.connect_report(),
                found,
                trials: run.trials,
                seconds: started.elapsed().as_secs_f64(),
            })
        },
    )
}

/// A search in progress.
struct SearchRun<'run, 'generator> {
    search: &'run SearchConfig,
    generator: &'run mut Generator<'generator>,
    tell: &'run dyn Fn(SearchProgress),
    trials: u32,
}

impl SearchRun<'_, '_> {
    fn find(&mut self, bracket: &mut Bracket, loss_target: f64) -> Result<FoundRate, LoadError> {
        let trials_before = self.trials;
        if bracket.is_empty() {
            let first = self.find_range(loss_target)?;
            bracket.begin_at(first);
        }
        loop {
            match bracket.next_step(loss_target) {
                Step::Try(pps) => {
                    let report = self.measure(pps, loss_target, self.search.trial)?;
                    bracket.add(pps, verdict(&report));
                }
                Step::Done { lower, upper } => {
                    let is_lower_bound =
                        upper.is_none_or(|upper| bracket.is_generator_limited(upper));
                    let bits = self.generator.config().mean_size() as f64 * 8.0;
                    return Ok(FoundRate {
                        loss_target,
                        pps: lower,
                        above_pps: upper,
                        bits_per_second: lower.unwrap_or_default() * bits,
                        is_lower_bound,
                        trials: self.trials - trials_before,
                    });
                }
            }
        }
    }

    /// Doubles the rate in short trials until one fails, then bisects. Returns the rate to start from.
    fn find_range(&mut self, loss_target: f64) -> Result<f64, LoadError> {
        let mut holds = self.search.min_pps;
        let mut fails = loop {
            let pps = (holds * FACTOR_OF_SHORT_TRIALS).min(self.search.max_pps);
            if !self.holds_in_short_trial(pps, loss_target)? {
                break pps;
            }
            holds = pps;
            if pps >= self.search.max_pps {
                return Ok(pps);
            }
        };
        for _ in 0..SHORT_HALVINGS {
            let pps = (holds * fails).sqrt();
            if self.holds_in_short_trial(pps, loss_target)? {
                holds = pps;
            } else {
                fails = pps;
            }
        }
        Ok(holds)
    }

    /// Returns true if a rate holds in one of two short trials.
    fn holds_in_short_trial(&mut self, pps: f64, loss_target: f64) -> Result<bool, LoadError> {
        let time = self.search.trial / SHORT_TRIAL_DIVISOR;
        for _ in 0..2 {
            let report = self.measure(pps, loss_target, time)?;
            if verdict(&report).holds(loss_target) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn measure(
        &mut self,
        pps: f64,
        loss_target: f64,
        duration: Duration,
    ) -> Result<Report, LoadError> {
        self.trials += 1;
        let plan = TrialPlan {
            number: self.trials,
            loss_target,
            offered_pps: pps,
            seconds: duration.as_secs_f64(),
        };
        (self.tell)(SearchProgress::TrialStarts(plan));
        let report = self.generator.measure(&Trial {
            rate: Rate::PerSecond(pps),
            warm_up: self.search.warm_up,
            duration,
        })?;
        if report.interrupted {
            return Err(LoadError::Interrupted);
        }
        let verdict = verdict(&report);
        (self.tell)(SearchProgress::TrialEnded(TrialResult {
            plan,
            sent: report.counts.sent,
            lost: report.lost,
            loss_share: report.loss_share,
            p99_ns: report.latency.p99_ns,
            holds: verdict.holds(loss_target),
            limited_by_generator: verdict.is_generator_limited(),
        }));
        Ok(report)
    }
}

fn verdict(report: &Report) -> Verdict {
    if report.limited_by_generator {
        Verdict::GeneratorTooSlow
    } else {
        Verdict::Lost(report.loss_share)
    }
}

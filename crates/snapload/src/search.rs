//! The highest rate at a loss target.
//!
//! Trials at one rate after another, with tunnels that stay connected, as in RFC 2544 (section 26.1)
//! and MLRsearch (draft-ietf-bmwg-mlrsearch): short ones first, to find where to look, then longer
//! ones, whose rates are halved between the highest that holds and the lowest that does not.
//!
//! A machine has other things to do now and then, and a trial that met them says nothing about the
//! gateway. So the majority of trials decides on a rate, and both ends of the result are tried again
//! when it is found: what failed because of a disturbance early on is looked at once more.
//!
//! A result is never too high by chance when a target of zero loss is searched, because a disturbance only adds
//! loss. It is too low when disturbances have the majority of the trials at its upper end: with one trial in six
//! disturbed, 4.3 % of 1,000,000 simulated searches ended below the precision, 1.7 % a tenth too low, and 17 of
//! them at less than half of the capacity. So a result that looks low is worth a second search.

mod bracket;

use std::time::{Duration, Instant};

use serde::Serialize;

use self::bracket::{Bracket, Step, Verdict};
use crate::config::{DirectionKind, LoadConfig, Rate};
use crate::error::{ConfigError, LoadError};
use crate::generator::{Generator, with_tunnels};
use crate::report::{ConnectReport, Progress, Report};
use crate::trial::{MAX_RATE_PPS, Trial};

/// Short trials take this part of the time of others.
const SHORT_TRIAL_DIVISOR: u32 = 5;

/// How much higher the rate of the next short trial is while they hold.
const FACTOR_OF_SHORT_TRIALS: f64 = 2.0;

/// After the first short trial that fails, so many halve the range.
const SHORT_HALVINGS: u32 = 2;

/// What to search for, see [`search`].
#[derive(Clone, PartialEq, Debug)]
pub struct SearchConfig {
    /// Shares of packets that may be lost, 0 to 1. A rate is searched for each.
    pub loss_targets: Vec<f64>,
    /// The lowest rate, in packets a second.
    pub min_pps: f64,
    /// The highest rate.
    pub max_pps: f64,
    /// How long packets of a trial are sent and counted.
    pub trial: Duration,
    /// How long packets of a trial are sent before that.
    pub warm_up: Duration,
    /// How far apart, as a share of the lower, the highest rate that holds and the lowest that does
    /// not may be at the end.
    pub precision: f64,
}

impl Default for SearchConfig {
    /// 0 and 0.5 % loss between 1000 and 10 million packets a second, in trials of 2 seconds, to 2 %.
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

/// What a search is doing.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum SearchProgress {
    /// The tunnels, or the trial under way.
    Load(Progress),
    /// A trial begins.
    TrialStarts(TrialPlan),
    /// A trial is over.
    TrialEnded(TrialResult),
    /// The rate for a loss target is found.
    Found(FoundRate),
}

/// A trial of a search.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TrialPlan {
    /// Its number, counted from 1.
    pub number: u32,
    /// The share of packets that may be lost.
    pub loss_target: f64,
    /// Packets a second.
    pub offered_pps: f64,
    /// How long packets are sent and counted, in seconds.
    pub seconds: f64,
}

/// What a trial of a search found.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TrialResult {
    /// The trial.
    #[serde(flatten)]
    pub plan: TrialPlan,
    /// Packets sent.
    pub sent: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// `lost` as a share of `sent`, 0 to 1.
    pub loss_share: f64,
    /// The 99th percentile of the latencies, in nanoseconds.
    pub p99_ns: u64,
    /// Whether the rate holds: no more was lost than the target says, and the generator kept up.
    pub holds: bool,
    /// Whether it was the generator that did not keep up.
    pub limited_by_generator: bool,
}

/// The highest rate for a loss target.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct FoundRate {
    /// The share of packets that may be lost.
    pub loss_target: f64,
    /// The highest rate that holds, in packets a second. `None`: not even the lowest does.
    pub pps: Option<f64>,
    /// The lowest rate that does not hold. `None`: the highest rate holds.
    pub above_pps: Option<f64>,
    /// Bits of SCION packets a second at the rate that holds.
    pub bits_per_second: f64,
    /// Whether the gateway may do better than `pps`: the generator was the limit, or the highest
    /// rate to be tried.
    pub is_lower_bound: bool,
    /// Trials for this target.
    pub trials: u32,
}

/// The result of a search.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SearchReport {
    /// Which way packets took.
    pub direction: DirectionKind,
    /// Size of the SCION packets in bytes, the mean of a mix.
    pub size_bytes: usize,
    /// Packets sent back to back on one tunnel.
    pub train: u32,
    /// How the tunnels were connected.
    pub connect: ConnectReport,
    /// The rates, in the order of the targets.
    pub found: Vec<FoundRate>,
    /// Trials for all targets.
    pub trials: u32,
    /// How long all of it took, without connecting, in seconds.
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

/// Connects the tunnels of `config` and searches for the highest rates. Rate, warm-up and duration
/// of `config` mean nothing here, but with the train length: a rate of its own makes it 1.
///
/// # Errors
/// See [`LoadError`]. A rate that is not found is a result.
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

/// A search under way.
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
            let first = self.look_around(loss_target)?;
            bracket.begin_at(first);
        }
        loop {
            match bracket.next_step(loss_target) {
                Step::Try(pps) => {
                    let report = self.measure(pps, loss_target, self.search.trial)?;
                    bracket.add(pps, verdict(&report));
                }
                Step::Done { lower, upper } => {
                    let is_lower_bound = upper.is_none_or(|upper| bracket.is_generators(upper));
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

    /// Doubles the rate in short trials until one fails, and goes back half way. Returns where to
    /// begin.
    fn look_around(&mut self, loss_target: f64) -> Result<f64, LoadError> {
        let mut holds = self.search.min_pps;
        let mut fails = loop {
            let pps = (holds * FACTOR_OF_SHORT_TRIALS).min(self.search.max_pps);
            if !self.holds_shortly(pps, loss_target)? {
                break pps;
            }
            holds = pps;
            if pps >= self.search.max_pps {
                return Ok(pps);
            }
        };
        for _ in 0..SHORT_HALVINGS {
            let pps = (holds * fails).sqrt();
            if self.holds_shortly(pps, loss_target)? {
                holds = pps;
            } else {
                fails = pps;
            }
        }
        Ok(holds)
    }

    /// Whether a rate holds in a short trial, or in another one.
    fn holds_shortly(&mut self, pps: f64, loss_target: f64) -> Result<bool, LoadError> {
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
            limited_by_generator: verdict.is_generators(),
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

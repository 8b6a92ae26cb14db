//! Running a scenario: one thread per population; the populations of a phase start together.

use std::collections::VecDeque;
use std::ops::Range;
use std::thread;

use crossbeam_channel::{Sender, bounded};
use serde::Serialize;

use super::check::loss_free_pps;
use super::garbage::{GarbageReport, GarbageSender};
use super::start_gate::StartGate;
use super::{Garbage, Load, Phase, Scenario};
use crate::config::{LoadConfig, PacketSizes};
use crate::error::{ConfigError, LoadError};
use crate::generator::with_tunnels;
use crate::report::{Interval, Progress, Report};

/// Capacity of the channel for messages of all populations.
const MESSAGES: usize = 256;

/// Progress of a scenario.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ScenarioProgress<'a> {
    /// A phase begins: its tunnels are being connected.
    Phase(&'a Phase),
    /// Tunnels of a population are being connected.
    Connecting {
        /// Name of the population.
        population: &'a str,
        /// Number of connected tunnels.
        connected: usize,
        /// Number of tunnels to connect.
        tunnels: usize,
    },
    /// An interval of a phase has ended.
    Interval {
        /// The phase.
        phase: &'a Phase,
        /// Intervals of the loads, in the order of the phase.
        loads: &'a [Interval],
        /// Number of datagrams each garbage population has sent, in the order of the phase.
        garbage: &'a [u64],
    },
    /// A phase has ended.
    PhaseDone(&'a PhaseReport),
}

/// Result of a scenario.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ScenarioReport {
    /// Title of the scenario.
    pub title: String,
    /// True if the scenario ran to its end and all checks held.
    pub passed: bool,
    /// True if the scenario was stopped early: phases are missing or shortened.
    pub interrupted: bool,
    /// Phases that have a result.
    pub phases: Vec<PhaseReport>,
}

/// Result of a phase.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PhaseReport {
    /// Name of the phase.
    pub phase: String,
    /// Results of its loads.
    pub loads: Vec<LoadReport>,
    /// Results of its garbage.
    pub garbage: Vec<GarbageReport>,
}

/// Result of a load.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LoadReport {
    /// Name of the population.
    pub name: String,
    /// Number of tunnels at a time.
    pub tunnels: usize,
    /// With a ramp: the highest rate at and below which (nearly) nothing was lost, in packets per second.
    pub loss_free_pps: Option<f64>,
    /// Result of the run.
    #[serde(flatten)]
    pub report: Report,
    /// Failed checks, each as a sentence.
    pub failed_checks: Vec<String>,
}

impl PhaseReport {
    /// Returns the failed checks, each with the name of its population.
    pub fn failed_checks(&self) -> impl Iterator<Item = (&str, &str)> {
        let loads = self
            .loads
            .iter()
            .map(|load| (&load.name, &load.failed_checks));
        let garbage = self
            .garbage
            .iter()
            .map(|garbage| (&garbage.name, &garbage.failed_checks));
        loads.chain(garbage).flat_map(|(name, checks)| {
            checks
                .iter()
                .map(move |check| (name.as_str(), check.as_str()))
        })
    }
}

/// Reason why a scenario has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// There are fewer identities than tunnels.
    #[error("the scenario needs {needed} identities, got {given}")]
    TooFewIdentities {
        /// Number of identities needed.
        needed: usize,
        /// Number of identities available.
        given: usize,
    },
    /// The configuration of a population is invalid, found before anything was sent.
    #[error("phase {phase:?}, {population:?}: {source}")]
    Config {
        /// Name of the phase.
        phase: String,
        /// Name of the population.
        population: String,
        /// Fault.
        source: ConfigError,
    },
    /// A population failed.
    #[error("phase {phase:?}, {population:?}: {source}")]
    Population {
        /// Name of the phase.
        phase: String,
        /// Name of the population.
        population: String,
        /// Cause.
        source: Box<LoadError>,
    },
}

impl ScenarioError {
    /// Returns true if a population was stopped before it had a result.
    fn is_interruption(&self) -> bool {
        matches!(self, Self::Population { source, .. } if matches!(**source, LoadError::Interrupted))
    }
}

impl Scenario {
    /// Runs the scenario. `base` adds what the scenario does not contain: gateway, identities, addresses, CPUs. Its
    /// `stop` ends the current phase and the scenario. `progress` is called on this thread and should return quickly.
    ///
    /// # Errors
    /// See [`ScenarioError`]. A check that fails is a result, not an error.
    pub fn run(
        &self,
        base: &LoadConfig,
        progress: &mut dyn FnMut(ScenarioProgress<'_>),
    ) -> Result<ScenarioReport, ScenarioError> {
        let (needed, given) = (self.identities_needed(), base.identities.len());
        if given < needed {
            return Err(ScenarioError::TooFewIdentities { needed, given });
        }
        let mut next_identity = 0;
        let mut plans = Vec::new();
        for phase in &self.phases {
            plans.push(PhasePlan::new(phase, base, &mut next_identity)?);
        }
        let mut phases = Vec::new();
        for plan in &plans {
            progress(ScenarioProgress::Phase(plan.phase));
            match plan.run(progress) {
                Ok(report) => {
                    progress(ScenarioProgress::PhaseDone(&report));
                    phases.push(report);
                }
                Err(error) if error.is_interruption() => {}
                Err(error) => return Err(error),
            }
            if base.stop.is_set() {
                break;
            }
        }
        let interrupted = base.stop.is_set();
        let all_hold = |phase: &PhaseReport| phase.failed_checks().next().is_none();
        Ok(ScenarioReport {
            title: self.title.clone(),
            passed: !interrupted && phases.iter().all(all_hold),
            interrupted,
            phases,
        })
    }
}

/// A phase with the configuration of each population.
struct PhasePlan<'a> {
    phase: &'a Phase,
    loads: Vec<(&'a Load, LoadConfig)>,
    garbage: Vec<(&'a Garbage, LoadConfig)>,
}

/// Progress of a population.
enum PopulationProgress {
    Connecting {
        connected: usize,
        tunnels: usize,
    },
    Interval(Box<Interval>),
    /// Number of garbage datagrams sent so far.
    Sent(u64),
}

impl<'a> PhasePlan<'a> {
    fn new(
        phase: &'a Phase,
        base: &LoadConfig,
        next_identity: &mut usize,
    ) -> Result<Self, ScenarioError> {
        let mut take = |count: usize| -> Range<usize> {
            let first = *next_identity;
            *next_identity += count;
            first..*next_identity
        };
        let mut loads = Vec::new();
        for load in &phase.loads {
            let config = load.config(phase, base, take(load.identities_needed(phase.duration)));
            config.check().map_err(|source| ScenarioError::Config {
                phase: phase.name.clone(),
                population: load.name.clone(),
                source,
            })?;
            loads.push((load, config));
        }
        let garbage = phase
            .garbage
            .iter()
            .map(|garbage| {
                let mut config = phase.config(base);
                config.identities = base.identities.range(take(garbage.identities_needed()));
                (garbage, config)
            })
            .collect();
        Ok(Self {
            phase,
            loads,
            garbage,
        })
    }

    fn run(
        &self,
        progress: &mut dyn FnMut(ScenarioProgress<'_>),
    ) -> Result<PhaseReport, ScenarioError> {
        let gate = StartGate::new(self.loads.len() + self.garbage.len());
        let (sender, receiver) = bounded(MESSAGES);
        thread::scope(|scope| {
            let gate = &gate;
            let loads: Vec<_> = (0..)
                .zip(&self.loads)
                .map(|(index, (_, config))| {
                    let sender = sender.clone();
                    scope.spawn(move || run_load(config, gate, &|told| tell(&sender, index, told)))
                })
                .collect();
            let garbage: Vec<_> = (0..)
                .zip(&self.garbage)
                .map(|(index, (garbage, config))| {
                    let sender = sender.clone();
                    scope.spawn(move || {
                        send_garbage(garbage, config, gate, &|told| tell(&sender, index, told))
                    })
                })
                .collect();
            drop(sender);
            let mut phase_progress = PhaseProgress::new(self);
            for (index, told) in &receiver {
                phase_progress.handle(index, told, progress);
            }
            let loads = self.join(loads, self.loads.iter().map(|(load, _)| &load.name));
            let garbage = self.join(
                garbage,
                self.garbage.iter().map(|(garbage, _)| &garbage.name),
            );
            Ok(self.report(loads?, garbage?))
        })
    }

    /// Joins the threads of populations and returns their results, or the first failure.
    fn join<'name, T>(
        &self,
        threads: Vec<PopulationThread<'_, T>>,
        names: impl Iterator<Item = &'name String>,
    ) -> Result<Vec<T>, ScenarioError> {
        let mut reports = Vec::new();
        let mut failure = None;
        for (thread, population) in threads.into_iter().zip(names) {
            match thread.join().unwrap_or(Err(LoadError::ThreadPanicked)) {
                Ok(report) => reports.extend(report),
                Err(source) => {
                    failure.get_or_insert(ScenarioError::Population {
                        phase: self.phase.name.clone(),
                        population: population.clone(),
                        source: Box::new(source),
                    });
                }
            }
        }
        failure.map_or(Ok(reports), Err)
    }

    fn report(&self, reports: Vec<Report>, garbage: Vec<GarbageReport>) -> PhaseReport {
        let loads = self
            .loads
            .iter()
            .zip(reports)
            .map(|((load, _), report)| LoadReport {
                name: load.name.clone(),
                tunnels: load.tunnels,
                loss_free_pps: loss_free_pps(&report.steps),
                failed_checks: load.checks.failed(&report),
                report,
            })
            .collect();
        PhaseReport {
            phase: self.phase.name.clone(),
            loads,
            garbage,
        }
    }
}

/// Thread of a population; returns `None` if another population could not start.
type PopulationThread<'scope, T> = thread::ScopedJoinHandle<'scope, Result<Option<T>, LoadError>>;

fn tell(sender: &Sender<(usize, PopulationProgress)>, index: usize, told: PopulationProgress) {
    // The receiver lives as long as there are senders.
    let _ = sender.send((index, told));
}

/// Connects a load's tunnels, waits for the other populations, and runs the load.
fn run_load(
    config: &LoadConfig,
    gate: &StartGate,
    tell: &dyn Fn(PopulationProgress),
) -> Result<Option<Report>, LoadError> {
    let mut progress = |progress| match progress {
        Progress::Connecting { connected, tunnels } => {
            tell(PopulationProgress::Connecting { connected, tunnels });
        }
        Progress::Interval(interval) => tell(PopulationProgress::Interval(Box::new(interval))),
        _ => {}
    };
    let result = with_tunnels(config, &mut progress, |generator| {
        if gate.wait() {
            generator.measure(&config.trial()).map(Some)
        } else {
            Ok(None)
        }
    });
    if result.is_err() {
        gate.abort();
    }
    result
}

/// Prepares garbage, waits for the other populations, and sends it.
fn send_garbage(
    garbage: &Garbage,
    config: &LoadConfig,
    gate: &StartGate,
    tell: &dyn Fn(PopulationProgress),
) -> Result<Option<GarbageReport>, LoadError> {
    let identity = config.identities.secrets().first();
    let sender = GarbageSender::new(garbage, config, identity).inspect_err(|_| gate.abort())?;
    Ok(gate
        .wait()
        .then(|| sender.work(config, |sent| tell(PopulationProgress::Sent(sent)))))
}

/// Progress of the populations of a phase.
struct PhaseProgress<'a> {
    phase: &'a Phase,
    names: Vec<&'a str>,
    /// Intervals of each load that were not reported yet.
    intervals: Vec<VecDeque<Interval>>,
    /// Datagrams sent by each garbage population.
    sent: Vec<u64>,
}

impl<'a> PhaseProgress<'a> {
    fn new(plan: &PhasePlan<'a>) -> Self {
        Self {
            phase: plan.phase,
            names: plan
                .loads
                .iter()
                .map(|(load, _)| load.name.as_str())
                .collect(),
            intervals: vec![VecDeque::new(); plan.loads.len()],
            sent: vec![0; plan.garbage.len()],
        }
    }

    fn handle(
        &mut self,
        population: usize,
        told: PopulationProgress,
        progress: &mut dyn FnMut(ScenarioProgress<'_>),
    ) {
        match told {
            PopulationProgress::Connecting { connected, tunnels } => {
                progress(ScenarioProgress::Connecting {
                    population: self.names[population],
                    connected,
                    tunnels,
                });
            }
            PopulationProgress::Sent(sent) => self.sent[population] = sent,
            PopulationProgress::Interval(interval) => {
                self.intervals[population].push_back(*interval);
                // An interval is reported when all loads have finished it.
                let loads: Option<Vec<Interval>> = self
                    .intervals
                    .iter()
                    .map(|intervals| intervals.front().copied())
                    .collect();
                if let Some(loads) = loads {
                    self.intervals.iter_mut().for_each(|intervals| {
                        intervals.pop_front();
                    });
                    progress(ScenarioProgress::Interval {
                        phase: self.phase,
                        loads: &loads,
                        garbage: &self.sent,
                    });
                }
            }
        }
    }
}

impl Phase {
    /// Returns the configuration that all populations of the phase share.
    fn config(&self, base: &LoadConfig) -> LoadConfig {
        LoadConfig {
            duration: self.duration,
            warm_up: self.warm_up,
            drain: self.drain,
            ..base.clone()
        }
    }
}

impl Load {
    fn config(&self, phase: &Phase, base: &LoadConfig, identities: Range<usize>) -> LoadConfig {
        LoadConfig {
            identities: base.identities.range(identities),
            threads: self.threads,
            sizes: PacketSizes::Fixed(self.size),
            rate: self.rate,
            train: Some(self.train),
            shares: self.shares,
            presence: self.presence,
            rekey_at: self.rekey_at,
            ..phase.config(base)
        }
    }
}

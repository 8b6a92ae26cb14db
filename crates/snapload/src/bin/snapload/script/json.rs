//! Output of a scenario for programs: one JSON object a line on standard output, nothing else there.

use std::io;

use serde::Serialize;
use snapload::scenario::{PhaseReport, Scenario, ScenarioProgress, ScenarioReport};
use snapload::{Interval, LoadConfig};

use super::output::Output;
use crate::json::print;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Interval {
        phase: &'a str,
        population: &'a str,
        #[serde(flatten)]
        interval: &'a Interval,
    },
    Phase(&'a PhaseReport),
    Verdict {
        title: &'a str,
        passed: bool,
        interrupted: bool,
        failed_checks: Vec<FailedCheck<'a>>,
    },
}

#[derive(Serialize)]
struct FailedCheck<'a> {
    phase: &'a str,
    population: &'a str,
    check: &'a str,
}

/// See the module.
pub(super) struct Json;

impl Output for Json {
    fn begin(&mut self, _scenario: &Scenario, _base: &LoadConfig) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, progress: ScenarioProgress<'_>) -> io::Result<()> {
        match progress {
            ScenarioProgress::Interval { phase, loads, .. } => {
                for (load, interval) in phase.loads.iter().zip(loads) {
                    print(&Line::Interval {
                        phase: &phase.name,
                        population: &load.name,
                        interval,
                    })?;
                }
                Ok(())
            }
            ScenarioProgress::PhaseDone(report) => print(&Line::Phase(report)),
            _ => Ok(()),
        }
    }

    fn verdict(&mut self, report: &ScenarioReport) -> io::Result<()> {
        let failed_checks = report
            .phases
            .iter()
            .flat_map(|phase| {
                phase
                    .failed_checks()
                    .map(|(population, check)| FailedCheck {
                        phase: &phase.phase,
                        population,
                        check,
                    })
            })
            .collect();
        print(&Line::Verdict {
            title: &report.title,
            passed: report.passed,
            interrupted: report.interrupted,
            failed_checks,
        })
    }
}

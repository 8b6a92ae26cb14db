//! Output of a scenario for programs: one JSON object per line on standard output, and nothing else there.

use std::io;

use serde::Serialize;
use snapload::Interval;
use snapload::scenario::{PhaseReport, ScenarioProgress, ScenarioReport};

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

/// Prints an interval per load, and the result of a phase.
pub(super) fn progress(progress: ScenarioProgress<'_>) -> io::Result<()> {
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

pub(super) fn verdict(report: &ScenarioReport) -> io::Result<()> {
    let mut failed_checks = Vec::new();
    for phase in &report.phases {
        for (population, check) in phase.failed_checks() {
            failed_checks.push(FailedCheck {
                phase: &phase.phase,
                population,
                check,
            });
        }
    }
    print(&Line::Verdict {
        title: &report.title,
        passed: report.passed,
        interrupted: report.interrupted,
        failed_checks,
    })
}

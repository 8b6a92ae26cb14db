//! What shows the course of a scenario.

use std::io;

use snapload::LoadConfig;
use snapload::scenario::{Scenario, ScenarioProgress, ScenarioReport};

/// Shows what a scenario does and what came of it.
pub(super) trait Output {
    fn begin(&mut self, scenario: &Scenario, base: &LoadConfig) -> io::Result<()>;
    fn progress(&mut self, progress: ScenarioProgress<'_>) -> io::Result<()>;
    fn verdict(&mut self, report: &ScenarioReport) -> io::Result<()>;
}

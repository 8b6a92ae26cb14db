//! What shows the course of a run.

use std::io;

use snapload::{Progress, Report};

/// Shows what a run does and what it found.
pub(crate) trait Output {
    fn progress(&mut self, progress: &Progress) -> io::Result<()>;
    fn report(&mut self, report: &Report, failed_checks: &[String]) -> io::Result<()>;
}

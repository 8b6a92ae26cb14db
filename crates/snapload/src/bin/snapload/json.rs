//! Output for programs: one JSON object a line on standard output, and nothing else there.

use std::io::{self, Write as _};

use serde::Serialize;
use snapload::{Interval, Progress, Report};

use crate::output::Output;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Interval(&'a Interval),
    Summary {
        #[serde(flatten)]
        report: &'a Report,
        failed_checks: &'a [String],
    },
}

/// See the module.
pub(crate) struct Json;

impl Output for Json {
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        match progress {
            Progress::Interval(interval) => print(&Line::Interval(interval)),
            _ => Ok(()),
        }
    }

    fn report(&mut self, report: &Report, failed_checks: &[String]) -> io::Result<()> {
        print(&Line::Summary {
            report,
            failed_checks,
        })
    }
}

/// Prints a value as one line.
pub(crate) fn print(line: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, line)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

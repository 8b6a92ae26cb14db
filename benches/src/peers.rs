//! Gateway process under load: against its floor, against snap-dataplane, and, with `--baseline`, against an older
//! build. `scripts/bench.sh peers --help` describes the usage, `docs/PERFORMANCE.md` the results.
//!
//! Each round measures every side of a comparison once, and ratios are computed per round. Results are medians over the
//! rounds.

mod arguments;
mod baseline;
mod case;
mod measure;
mod result;
mod rows;

use std::process::ExitCode;

use crate::harness::{self, Programs};

/// Runs the benchmark with the arguments of the process.
#[must_use]
pub fn main(programs: Programs) -> ExitCode {
    harness::main::<arguments::Arguments>(programs)
}

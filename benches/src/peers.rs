//! The gateway as a process, measured under load: against its floor, against the SNAP data plane of today,
//! and, with `--baseline`, against an older build. `scripts/bench.sh peers --help` says how to
//! use it, `docs/PERFORMANCE.md` how to read it.
//!
//! What is measured next to each other is compared with each other: a round measures every side of a
//! comparison once, and a ratio is taken within a round. The results are medians over rounds.

mod arguments;
mod baseline;
mod case;
mod measure;
mod result;
mod rows;

use std::process::ExitCode;

use crate::harness::{self, Programs};

/// What the command line asks for; `programs` are what cargo built with the benchmark.
#[must_use]
pub fn main(programs: Programs) -> ExitCode {
    harness::main::<arguments::Arguments>(programs)
}

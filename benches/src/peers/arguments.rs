//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::result::Measured;
use super::rows::Row;
use crate::harness::error::BenchError;
use crate::harness::options::Options;
use crate::harness::program::Program;
use crate::harness::report::Report;
use crate::harness::run::Run;
use crate::harness::{Benchmark, Programs};

/// Rounds of a run without a baseline.
const ROUNDS: u32 = 5;

/// Rounds of a run with a baseline: the interval then reaches from the third lowest to the third highest
/// ratio.
const ROUNDS_WITH_BASELINE: u32 = 12;

const EXAMPLES: &str = "\
Examples:
  scripts/bench.sh peers --list
  scripts/bench.sh peers --only forward --only echo
  scripts/bench.sh peers --baseline /tmp/snapgate-old
  scripts/bench.sh peers --baseline /tmp/snapgate-old --baseline-only \\
      --only forward --only echo --only forward-100 --rounds 20";

/// Measures the gateway as a process: CPU time per packet against its floor and against the SNAP data
/// plane of today (snap-dataplane 0.8.6), and everything else that docs/PERFORMANCE.md shows.
///
/// With --baseline, an older build is measured next to the new one in every round, in alternating order.
/// For each row of CPU time (and the memory of idle tunnels), the ratio new/baseline is taken within a
/// round, and the median ratio gets a distribution-free interval of at least 95 % confidence (from the sign
/// test, which needs at least 6 rounds). "Within 3 %" holds when the whole interval is at most 1.03, does
/// not hold when the whole interval is above, and needs more rounds otherwise.
///
/// Exit codes: 0 every bound holds, 1 something could not be measured, 2 wrong usage, 3 a bound does not
/// hold, 4 all bounds hold but a comparison with the baseline needs more rounds.
#[derive(Parser, Debug)]
#[command(
    name = "peers",
    bin_name = "scripts/bench.sh peers",
    after_help = EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options<Row>,
    /// How often every comparison is measured [default: 5; with --baseline 12; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Compare with this older snapgate, an executable that was built with --release; relative to benches/
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare with the baseline alone: leave out the floor, the peer, and all rows without a baseline
    #[arg(long, requires = "baseline")]
    baseline_only: bool,
}

impl Arguments {
    /// The rows to measure, in the order of the table.
    fn rows(&self) -> impl Iterator<Item = Row> {
        self.options
            .chosen()
            .filter(|row| !self.baseline_only || row.has_baseline())
    }

    fn rounds(&self) -> u32 {
        self.rounds
            .unwrap_or(match (self.options.quick, &self.baseline) {
                (true, _) => 1,
                (false, Some(_)) => ROUNDS_WITH_BASELINE,
                (false, None) => ROUNDS,
            })
    }
}

impl Benchmark for Arguments {
    const NAME: &'static str = "peers";
    type Entry = Row;
    type Finding = Measured;

    fn options(&self) -> &Options<Row> {
        &self.options
    }

    /// Errors: [`BenchError::NoRows`] when `--baseline-only` leaves out everything that `--only` names.
    fn check(&self) -> Result<(), BenchError> {
        self.rows().next().map(drop).ok_or(BenchError::NoRows)
    }

    fn run(&self, programs: Programs) -> Result<Run, BenchError> {
        // Before the build, which takes minutes.
        let baseline = self.baseline.as_deref().map(Program::inspect).transpose()?;
        let mut run = Run::new(programs, &self.options, self.rounds())?;
        if let Some(baseline) = baseline {
            run.add_baseline(baseline)?;
        }
        run.baseline_only = self.baseline_only;
        Ok(run)
    }

    fn measure(&self, run: &Run, report: &mut Report<Measured>) -> Result<(), BenchError> {
        for row in self.rows() {
            for result in row.measure(run)? {
                report.add(result)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Arguments {
        Arguments::try_parse_from(["peers"].iter().chain(arguments)).unwrap()
    }

    #[test]
    fn the_default_number_of_rounds_is_enough_for_what_is_compared() {
        assert_eq!(parse(&[]).rounds(), 5);
        assert_eq!(parse(&["--quick"]).rounds(), 1);
        let with_baseline = parse(&["--baseline", "old"]).rounds();
        assert!(with_baseline as usize >= crate::statistics::INTERVAL_VALUES_MIN);
        assert_eq!(
            parse(&["--baseline", "old", "--quick", "--rounds", "6"]).rounds(),
            6
        );
    }

    #[test]
    fn only_rows_with_a_baseline_are_compared_with_the_baseline_alone() {
        let all = parse(&["--baseline", "old"]);
        assert!(all.rows().any(|row| row == Row::Latency));
        let compared = parse(&["--baseline", "old", "--baseline-only"]);
        let compared: Vec<Row> = compared.rows().collect();
        assert!(compared.contains(&Row::Forward) && !compared.contains(&Row::Latency));
        let nothing = parse(&["--baseline", "old", "--baseline-only", "--only", "latency"]);
        assert!(matches!(nothing.check(), Err(BenchError::NoRows)));
    }

    #[test]
    fn nothing_is_compared_with_a_baseline_that_is_not_given() {
        assert!(Arguments::try_parse_from(["peers", "--baseline-only"]).is_err());
    }
}

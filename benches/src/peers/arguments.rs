//! Command line of the benchmark `peers`.

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

/// Rounds of a run with a baseline: the interval reaches from the third lowest to the third highest ratio.
const ROUNDS_WITH_BASELINE: u32 = 12;

const AFTER_HELP: &str = "\
Exit codes:
  0  every bound holds
  1  a measurement failed
  2  wrong usage
  3  a bound does not hold
  4  all bounds hold, but a comparison with the baseline needs more rounds

Examples:
  scripts/bench.sh peers --list
  scripts/bench.sh peers --only forward --only echo
  scripts/bench.sh peers --baseline /tmp/snapgate-old
  scripts/bench.sh peers --baseline /tmp/snapgate-old --baseline-only \\
      --only forward --only echo --only forward-100 --rounds 20";

/// Measure CPU time, memory and latency of a gateway process under load
///
/// Compares the CPU time per packet with its floor, the sum of the indispensable steps, and with snap-dataplane 0.8.6.
/// Prints the results of docs/PERFORMANCE.md, which explains them. Builds the gateway, unless --snapgate names an
/// executable.
///
/// With --baseline, every round also measures an older build, in alternating order. The ratio new/baseline is computed
/// per round, for CPU time and for the memory of idle tunnels. The median ratio gets a distribution-free confidence
/// interval of at least 95 % (sign test, at least 6 rounds). "Within 3 %" holds if the whole interval is at most 1.03,
/// does not hold if the whole interval is above 1.03, and needs more rounds otherwise.
#[derive(Parser, Debug)]
#[command(
    name = "peers",
    bin_name = "scripts/bench.sh peers",
    max_term_width = 80,
    after_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options<Row>,
    /// Number of rounds; results are medians over them [default: 5; with --baseline 12; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Also measure this older snapgate executable, built with --release; the path is relative to benches/
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare only with the baseline: skip the floor, snap-dataplane, and rows without a baseline
    #[arg(long, requires = "baseline")]
    baseline_only: bool,
}

impl Arguments {
    /// Returns the rows to measure, in the order of the table.
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

    /// Errors: [`BenchError::NoRows`] if `--baseline-only` skips all rows selected by `--only`.
    fn check(&self) -> Result<(), BenchError> {
        self.rows().next().map(drop).ok_or(BenchError::NoRows)
    }

    fn run(&self, programs: Programs) -> Result<Run, BenchError> {
        // Checked before the build, which takes minutes.
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
    use clap::CommandFactory as _;

    use super::*;
    use crate::harness::report::TERMINAL_COLUMNS;

    #[test]
    fn help_fits_into_80_columns() {
        let help = Arguments::command().render_long_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= TERMINAL_COLUMNS, "{line}");
        }
    }

    fn parse(arguments: &[&str]) -> Arguments {
        Arguments::try_parse_from(["peers"].iter().chain(arguments)).unwrap()
    }

    #[test]
    fn default_number_of_rounds_is_enough_for_an_interval() {
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
    fn baseline_only_skips_rows_without_a_baseline() {
        let all = parse(&["--baseline", "old"]);
        assert!(all.rows().any(|row| row == Row::Latency));
        let compared = parse(&["--baseline", "old", "--baseline-only"]);
        let compared: Vec<Row> = compared.rows().collect();
        assert!(compared.contains(&Row::Forward) && !compared.contains(&Row::Latency));
        let nothing = parse(&["--baseline", "old", "--baseline-only", "--only", "latency"]);
        assert!(matches!(nothing.check(), Err(BenchError::NoRows)));
    }

    #[test]
    fn baseline_only_requires_a_baseline() {
        assert!(Arguments::try_parse_from(["peers", "--baseline-only"]).is_err());
    }
}

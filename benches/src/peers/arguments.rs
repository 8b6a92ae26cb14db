//! The command line, and what a run needs besides.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use tempfile::NamedTempFile;

use super::baseline::Build;
use super::error::BenchError;
use super::machine::BaselineInfo;
use super::program::Program;
use super::rows::Row;
use super::server;
use crate::cpu::Placement;
use crate::gateway_key;

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
    /// Measure this row only; repeatable
    #[arg(long, value_name = "ROW", value_enum)]
    only: Vec<Row>,
    /// Print the rows and end
    #[arg(long)]
    pub(crate) list: bool,
    /// How often every comparison is measured [default: 5; with --baseline 12; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Short rounds, and a tenth of the tunnels: shows that everything works, measures little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write the results here as well, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables of docs/PERFORMANCE.md here
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Measure this gateway instead of building the one of this tree
    #[arg(long, value_name = "FILE")]
    snapgate: Option<PathBuf>,
    /// Compare with this older snapgate, an executable that was built with --release; relative to benches/
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare with the baseline alone: leave out the floor, the peer, and all rows without a baseline
    #[arg(long, requires = "baseline")]
    baseline_only: bool,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// The rows to measure, in the order of the table.
    pub(crate) fn rows(&self) -> Vec<Row> {
        Row::ALL
            .into_iter()
            .filter(|row| self.only.is_empty() || self.only.contains(row))
            .filter(|row| !self.baseline_only || row.has_baseline())
            .collect()
    }

    /// Errors: [`BenchError::NoRows`] when `--baseline-only` leaves out everything that `--only` names.
    pub(crate) fn check_rows(&self) -> Result<(), BenchError> {
        if self.rows().is_empty() {
            return Err(BenchError::NoRows);
        }
        Ok(())
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(match (self.quick, &self.baseline) {
            (true, _) => 1,
            (false, Some(_)) => ROUNDS_WITH_BASELINE,
            (false, None) => ROUNDS,
        })
    }

    /// Inspects the baseline, builds the gateway and looks at the machine.
    pub(crate) fn run(&self, programs: Programs) -> Result<Run, BenchError> {
        // Before the build, which takes minutes.
        let baseline = self.baseline.as_deref().map(Program::inspect).transpose()?;
        let snapgate = self.snapgate.as_deref();
        let mut run = Run::new(programs, snapgate, self.rounds(), self.quick)?;
        if let Some(baseline) = baseline {
            run.add_baseline(baseline)?;
        }
        run.baseline_only = self.baseline_only;
        Ok(run)
    }
}

/// Programs of this package, which cargo builds with the benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// `peer_gateway`.
    pub peer: &'static str,
    /// `until_parent_ends`.
    pub launcher: &'static str,
}

/// What all rows share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) programs: Programs,
    snapgate: Program,
    baseline: Option<Program>,
    /// Nothing but snapgate and its baseline is measured.
    pub(crate) baseline_only: bool,
    pub(crate) private_key: NamedTempFile,
    pub(crate) placement: Placement,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
}

impl Run {
    /// Looks at the machine, and builds the gateway unless it is given.
    pub(crate) fn new(
        programs: Programs,
        snapgate: Option<&Path>,
        rounds: u32,
        quick: bool,
    ) -> Result<Self, BenchError> {
        let placement = Placement::of_this_machine()?;
        let snapgate = match snapgate {
            Some(path) => Program::inspect(path)?,
            None => Program::inspect(&build_snapgate()?)?,
        };
        let private_key = NamedTempFile::new().map_err(BenchError::Temporary)?;
        let text = BASE64_STANDARD.encode(gateway_key().to_bytes());
        std::fs::write(private_key.path(), text + "\n").map_err(BenchError::Temporary)?;
        Ok(Self {
            programs,
            snapgate,
            baseline: None,
            baseline_only: false,
            private_key,
            placement,
            rounds,
            quick,
        })
    }

    /// Measures `baseline` as well.
    ///
    /// Errors: [`BenchError::SameFile`] when it is the gateway under test, and [`BenchError::MissingFlag`].
    fn add_baseline(&mut self, baseline: Program) -> Result<(), BenchError> {
        if baseline.is_same_file(&self.snapgate)? {
            return Err(BenchError::SameFile {
                path: baseline.path,
            });
        }
        server::check_flags(&baseline)?;
        self.baseline = Some(baseline);
        Ok(())
    }

    pub(crate) fn has_baseline(&self) -> bool {
        self.baseline.is_some()
    }

    /// The executable of a build.
    ///
    /// Errors: [`BenchError::NoBaseline`].
    pub(crate) fn program(&self, build: Build) -> Result<&Program, BenchError> {
        match build {
            Build::New => Ok(&self.snapgate),
            Build::Baseline => self.baseline.as_ref().ok_or(BenchError::NoBaseline),
        }
    }

    /// What a reader has to know about the baseline.
    pub(crate) fn baseline_info(&self) -> Result<Option<BaselineInfo>, BenchError> {
        let Some(baseline) = &self.baseline else {
            return Ok(None);
        };
        Ok(Some(BaselineInfo {
            file: baseline.path.clone(),
            version: baseline.version.clone(),
            started_without: server::check_flags(baseline)?,
            same_content: baseline.has_same_content(&self.snapgate)?,
        }))
    }

    /// A duration, or less of it when it shall be quick.
    pub(crate) fn time(&self, milliseconds: u64) -> Duration {
        Duration::from_millis(if self.quick {
            milliseconds / 4
        } else {
            milliseconds
        })
    }

    /// A number of tunnels, or less of them when it shall be quick.
    pub(crate) fn many(&self, tunnels: usize) -> usize {
        if self.quick { tunnels / 10 } else { tunnels }
    }
}

/// Builds the gateway as it is released, and returns where it is.
fn build_snapgate() -> Result<PathBuf, BenchError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--release", "--locked", "--package", "snapgate"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| BenchError::Build(format!("cannot run cargo: {error}")))?;
    if !output.status.success() {
        return Err(BenchError::Build(format!("cargo: {}", output.status)));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "snapgate")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| BenchError::Build("cargo named no executable".to_owned()))
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
        let all = parse(&["--baseline", "old"]).rows();
        assert!(all.contains(&Row::Latency));
        let compared = parse(&["--baseline", "old", "--baseline-only"]).rows();
        assert!(compared.contains(&Row::Forward) && !compared.contains(&Row::Latency));
        let nothing = parse(&["--baseline", "old", "--baseline-only", "--only", "latency"]);
        assert!(matches!(nothing.check_rows(), Err(BenchError::NoRows)));
    }

    #[test]
    fn nothing_is_compared_with_a_baseline_that_is_not_given() {
        assert!(Arguments::try_parse_from(["peers", "--baseline-only"]).is_err());
    }
}

//! The command line, and what a run needs besides.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use tempfile::NamedTempFile;

use super::error::BenchError;
use super::rows::Row;
use crate::cpu::Placement;
use crate::gateway_key;

/// Measures the gateway as a process: CPU time per packet against its floor and against the SNAP data
/// plane of today (snap-dataplane 0.8.6), and everything else that docs/PERFORMANCE.md shows.
///
/// Exit codes: 0 every bound holds, 1 something could not be measured, 2 wrong usage, 3 a bound does not
/// hold.
#[derive(Parser, Debug)]
#[command(name = "peers", bin_name = "cargo bench -p benches --bench peers --")]
pub(crate) struct Arguments {
    /// Measure this row only; repeatable
    #[arg(long, value_name = "ROW", value_enum)]
    only: Vec<Row>,
    /// Print the rows and end
    #[arg(long)]
    pub(crate) list: bool,
    /// How often every comparison is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// One short round, and a tenth of the tunnels: shows that everything works, measures little
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
            .collect()
    }

    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Builds the gateway and looks at the machine.
    pub(crate) fn run(&self, programs: Programs) -> Result<Run, BenchError> {
        let snapgate = self.snapgate.as_deref();
        Run::new(programs, snapgate, self.rounds(), self.quick)
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
    pub(crate) snapgate: PathBuf,
    pub(crate) private_key: NamedTempFile,
    pub(crate) placement: Placement,
    pub(crate) rounds: u32,
    quick: bool,
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
            Some(path) => path.to_owned(),
            None => build_snapgate()?,
        };
        let private_key = NamedTempFile::new().map_err(BenchError::Temporary)?;
        let text = BASE64_STANDARD.encode(gateway_key().to_bytes());
        std::fs::write(private_key.path(), text + "\n").map_err(BenchError::Temporary)?;
        Ok(Self {
            programs,
            snapgate,
            private_key,
            placement,
            rounds,
            quick,
        })
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
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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

//! Common settings of all cases of a run.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::entry::Entry;
use super::error::BenchError;
use super::options::Options;
use super::program::Program;
use super::settings;
use crate::cpu::Placement;
use crate::gateway_key;

/// Paths of executables of this package, which cargo builds with the benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// `peer_gateway`.
    pub peer: &'static str,
    /// `until_parent_ends`.
    pub launcher: &'static str,
}

/// A build of snapgate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Build {
    /// Build under test.
    New,
    /// Older build for comparison.
    Baseline,
}

/// Common settings of all cases of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) programs: Programs,
    snapgate: Program,
    baseline: Option<Program>,
    /// Measures only snapgate and its baseline.
    pub(crate) baseline_only: bool,
    pub(crate) private_key: NamedTempFile,
    pub(crate) placement: Placement,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
}

impl Run {
    /// Inspects the machine, and builds the gateway unless `--snapgate` is given.
    pub(crate) fn new(
        programs: Programs,
        options: &Options<impl Entry>,
        rounds: u32,
    ) -> Result<Self, BenchError> {
        let placement = Placement::of_this_machine()?;
        let snapgate = match &options.snapgate {
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
            quick: options.quick,
        })
    }

    /// Adds `baseline` to the comparisons.
    ///
    /// Errors: [`BenchError::SameFile`] if it is the gateway under test, and [`BenchError::MissingFlag`].
    pub(crate) fn add_baseline(&mut self, baseline: Program) -> Result<(), BenchError> {
        if baseline.is_same_file(&self.snapgate)? {
            return Err(BenchError::SameFile {
                path: baseline.path,
            });
        }
        settings::check_flags(&baseline)?;
        self.baseline = Some(baseline);
        Ok(())
    }

    pub(crate) fn has_baseline(&self) -> bool {
        self.baseline.is_some()
    }

    /// Returns the executable of a build.
    ///
    /// Errors: [`BenchError::NoBaseline`].
    pub(crate) fn program(&self, build: Build) -> Result<&Program, BenchError> {
        match build {
            Build::New => Ok(&self.snapgate),
            Build::Baseline => self.baseline.as_ref().ok_or(BenchError::NoBaseline),
        }
    }

    /// Returns the description of the baseline for reports.
    pub(crate) fn baseline_info(&self) -> Result<Option<BaselineInfo>, BenchError> {
        let Some(baseline) = &self.baseline else {
            return Ok(None);
        };
        Ok(Some(BaselineInfo {
            file: baseline.path.clone(),
            version: baseline.version.clone(),
            started_without: settings::check_flags(baseline)?,
            same_content: baseline.has_same_content(&self.snapgate)?,
        }))
    }

    /// Returns a duration, shortened by `--quick`.
    pub(crate) fn time(&self, milliseconds: u64) -> Duration {
        Duration::from_millis(if self.quick {
            milliseconds / 4
        } else {
            milliseconds
        })
    }

    /// Returns a number of tunnels, reduced by `--quick`.
    pub(crate) fn many(&self, tunnels: usize) -> usize {
        if self.quick { tunnels / 10 } else { tunnels }
    }
}

/// Description of an older build for comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BaselineInfo {
    file: PathBuf,
    /// Output of `--version`.
    version: String,
    /// Optional flags that the build does not have, without dashes.
    started_without: Vec<&'static str>,
    /// The executable is identical to the gateway under test.
    same_content: bool,
}

impl fmt::Display for BaselineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "baseline {} ({}", self.file.display(), self.version)?;
        if self.same_content {
            write!(f, ", identical to the gateway under test")?;
        }
        for flag in &self.started_without {
            write!(f, ", which has no --{flag}")?;
        }
        write!(f, ")")
    }
}

/// Builds the gateway with the release profile, and returns the path of the executable.
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

//! Description of the machine and the build.

use std::fmt;
use std::process::Command;

use jiff::Zoned;
use serde::Serialize;

use super::error::BenchError;
use super::run::{BaselineInfo, Run};

/// Machine and build on which results were measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    memory_gib: u64,
    commit: String,
    date: String,
    rounds: u32,
    /// Older build for comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<BaselineInfo>,
}

const UNKNOWN: &str = "unknown";

impl Machine {
    pub(super) fn of(run: &Run) -> Result<Self, BenchError> {
        Ok(Self {
            cpu: cpu_model(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            memory_gib: memory_gib(),
            commit: commit(),
            date: Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string(),
            rounds: run.rounds,
            baseline: run.baseline_info()?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} CPUs, {} GiB), Linux {}, commit {}, {}, {} round{}",
            self.cpu,
            self.cpus,
            self.memory_gib,
            self.kernel,
            self.commit,
            self.date,
            self.rounds,
            if self.rounds == 1 { "" } else { "s" }
        )?;
        if let Some(baseline) = &self.baseline {
            write!(f, "; {baseline}")?;
        }
        Ok(())
    }
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or_else(|| UNKNOWN.to_owned(), |(_, model)| model.trim().to_owned())
}

fn memory_gib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .unwrap_or_default();
    (kib + (1 << 19)) >> 20
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(
        |_| UNKNOWN.to_owned(),
        |text| text.lines().next().unwrap_or(UNKNOWN).to_owned(),
    )
}

/// Returns the commit of the source tree, with `-dirty` if there are uncommitted changes.
fn commit() -> String {
    Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || UNKNOWN.to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
}

//! Why there is no result.

use std::io;
use std::path::{Path, PathBuf};

use snapload::LoadError;

use crate::StepError;
use crate::cpu::CpuError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error("the floor cannot be measured: {0}")]
    Floor(#[from] StepError),
    #[error("cannot build the gateway: {0}")]
    Build(String),
    #[error("{path} is not an executable snapgate: {reason}")]
    NotSnapgate { path: PathBuf, reason: String },
    #[error("{path} cannot be measured: its `run --help` does not list --{flag}")]
    MissingFlag { path: PathBuf, flag: &'static str },
    #[error(
        "the baseline {path} is the gateway under test itself: copy the older build to a file outside the \
         target directory before the new one is built"
    )]
    SameFile { path: PathBuf },
    #[error("there is no baseline")]
    NoBaseline,
    #[error("no row is left to measure: --baseline-only leaves out rows without a baseline")]
    NoRows,
    #[error("cannot start {program}: {source}")]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot make a temporary file: {0}")]
    Temporary(io::Error),
    #[error("{server} ended with {status} before it was ready; it said:\n{said}")]
    NotReady {
        server: &'static str,
        status: String,
        said: String,
    },
    #[error("{server} was not ready within 10 s; it said:\n{said}")]
    SlowStart { server: &'static str, said: String },
    #[error("the load on {server} failed: {source}; the server is {state}")]
    Load {
        server: &'static str,
        source: Box<LoadError>,
        state: String,
    },
    #[error("{server} delivered no packet at all")]
    NothingDelivered { server: &'static str },
    #[error("the server serves no metrics")]
    NoMetrics,
    #[error("the attack {attack} failed: cannot {step}: {source}")]
    Attack {
        attack: String,
        step: &'static str,
        source: io::Error,
    },
    #[error("the gateway did not answer an honest handshake before the attack")]
    NoAnswer,
    #[error("a client that begins new sessions failed: {0}")]
    Rekey(io::Error),
    #[error("there is no client to attack")]
    NoVictim,
    #[error(
        "the attack {attack} needs root (CAP_NET_RAW, and CAP_SYS_ADMIN for network namespaces): run the \
         benchmark as root, or name other attacks with --only"
    )]
    NeedsRoot { attack: String },
    #[error("the newcomer failed: {0}")]
    Newcomer(Box<LoadError>),
    #[error("cannot find a free port on loopback: {0}")]
    NoPort(io::Error),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write the results: {0}")]
    Output(#[from] io::Error),
    #[error("cannot write the results as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

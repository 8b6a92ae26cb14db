//! Errors of the benchmarks of gateway processes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use snapload::LoadError;

use crate::StepError;
use crate::cpu::CpuError;

/// Error that ends a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error("cannot measure: {0}")]
    Floor(#[from] StepError),
    #[error("cannot build the gateway: {0}")]
    Build(String),
    #[error("{path} is not an executable snapgate: {reason}")]
    NotSnapgate { path: PathBuf, reason: String },
    #[error("cannot measure {path}: its `run --help` does not list --{flag}")]
    MissingFlag { path: PathBuf, flag: &'static str },
    #[error(
        "the baseline {path} is the gateway under test: copy the older build to a file outside the target \
         directory before building the new one"
    )]
    SameFile { path: PathBuf },
    #[error("no baseline given")]
    NoBaseline,
    #[error(
        "nothing to measure: the rows selected by --only have no baseline, and --baseline-only skips such rows"
    )]
    NoRows,
    #[error("cannot start {program}: {source}")]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot create a temporary file: {0}")]
    Temporary(io::Error),
    #[error("{server} exited before it was ready ({status}); its output:\n{output}")]
    NotReady {
        server: &'static str,
        status: String,
        output: String,
    },
    #[error("{server} was not ready within 10 s; its output:\n{output}")]
    SlowStart {
        server: &'static str,
        output: String,
    },
    #[error("the load on {server} failed: {source}; the server is {state}")]
    Load {
        server: &'static str,
        source: Box<LoadError>,
        state: String,
    },
    #[error("{server} delivered no packets")]
    NothingDelivered { server: &'static str },
    #[error("the server does not serve metrics")]
    NoMetrics,
    #[error("attack {attack} failed: cannot {step}: {source}")]
    Attack {
        attack: String,
        step: &'static str,
        source: io::Error,
    },
    #[error("the gateway did not answer the handshake of an authorized client before the attack")]
    NoAnswer,
    #[error("a client that renews its session failed: {0}")]
    Rekey(io::Error),
    #[error("the attack needs a client with a session, and there is none")]
    NoVictim,
    #[error(
        "attack {attack} forges source addresses, which needs raw sockets (CAP_NET_RAW): run as root, or as root of \
         a network namespace (unshare -Urn, then `ip link set lo up`), or select other attacks with --only"
    )]
    NeedsRoot { attack: String },
    #[error(
        "attack {attack} runs in network namespaces, whose requirements are not met:\n  {}\nOr select other attacks \
         with --only; --list shows all",
        .missing.join("\n  ")
    )]
    NeedsNamespaces {
        attack: String,
        missing: Vec<String>,
    },
    #[error("the new client failed: {0}")]
    Newcomer(Box<LoadError>),
    #[error("cannot prepare registrations: {0}")]
    Registrations(String),
    #[error("cannot register an identity: {0}")]
    Register(io::Error),
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
    /// Exit code of the process: 2 if the machine lacks what the command line asks for, and 1 otherwise.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NeedsRoot { .. } | Self::NeedsNamespaces { .. } => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

//! Errors of a demo.

use snapgate::gateway::{StartError, WorkerFailure};
use snapload::LoadError;

/// Reason why a demo has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A worker of the gateway failed.
    #[error(transparent)]
    Worker(#[from] WorkerFailure),
    /// The load generator failed.
    #[error("load generator failed: {0}")]
    Load(#[from] LoadError),
    /// The operating system provides no random numbers.
    #[error("cannot generate keys: {0}")]
    Random(getrandom::Error),
}

//! Why a demo has no result.

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
    /// The load generator gave no result.
    #[error("the load generator stopped: {0}")]
    Load(#[from] LoadError),
    /// The kernel has no random numbers.
    #[error("cannot draw keys: {0}")]
    Random(getrandom::Error),
}

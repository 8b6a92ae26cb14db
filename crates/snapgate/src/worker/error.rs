//! Fatal errors of a worker.

use std::io;

/// Fatal error of a worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("cannot wait for packets: {0}")]
    Poll(io::Error),
    #[error("cannot receive on {socket}: {source}")]
    Receive {
        socket: &'static str,
        source: io::Error,
    },
    #[error("cannot register a socket for writing: {0}")]
    Register(io::Error),
    #[error("cannot wake another worker: {0}")]
    Wake(io::Error),
}

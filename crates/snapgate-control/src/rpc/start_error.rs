//! Errors of starting the control plane.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Error of starting the control plane. The text says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// A listen address cannot be bound.
    #[error("cannot serve the control plane on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Error of the kernel.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The directory of the Unix socket cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The Unix socket cannot be created.
    #[error("cannot create the control socket {path}: {reason}", path = .path.display())]
    Socket {
        /// Path of the socket, its lock or its directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The thread of the control plane cannot be started.
    #[error("cannot start the thread of the control plane: {0}")]
    Thread(io::Error),
}

/// Certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}", file = .file.display())]
pub struct TlsError {
    /// The file at fault.
    pub file: PathBuf,
    /// What is wrong with it. Contains nothing of the key.
    pub reason: String,
}

/// A directory cannot be used for the control socket and the registrations.
#[derive(Debug, thiserror::Error)]
#[error("{directory}: {reason}", directory = .directory.display())]
pub struct DirectoryError {
    /// The directory.
    pub directory: PathBuf,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

//! Errors of opening a state directory, with remedies.

use std::io;
use std::path::PathBuf;

/// Error of opening a state directory. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// No file can be created in the directory.
    #[error(
        "cannot write to the state directory {}: {source}; it must exist and belong to the user that runs \
         snapgate (StateDirectory= of the service)",
        directory.display()
    )]
    Unwritable {
        /// The directory.
        directory: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error(
        "the state directory {} is in use by another snapgate; stop it, or use another directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// The identifier of the boot cannot be read.
    #[error(
        "cannot read /proc/sys/kernel/random/boot_id, which the state directory needs: {0}; mount /proc with it \
         (ProcSubset=all of the service), or run without a state directory"
    )]
    Boot(io::Error),
    /// The thread cannot be started.
    #[error(
        "cannot start the state writer thread: {0}; raise its limit (TasksMax= of the service, ulimit -u)"
    )]
    Thread(io::Error),
}

//! Errors of the registry, with remedies.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Error of opening a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be created, read or written.
    #[error(
        "cannot open the registrations file {}: {source}; its directory must exist and belong to the user that runs \
         snapgate",
        file.display()
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The path leads to a directory, a pipe or a device.
    #[error("{} is not a regular file; use the path of a file for registrations", .0.display())]
    NotAFile(PathBuf),
    /// Another process uses the file.
    #[error("the registrations file {} is in use by another process; stop it, or use another file", .0.display())]
    InUse(PathBuf),
    /// Other users have access to the file, and that cannot be changed.
    #[error(
        "other users have access to the registrations file {}, and its mode cannot be changed: {source}; make it \
         belong to the user that runs snapgate, with mode 0600",
        file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The file was written by another program.
    #[error("{} is not a registrations file of snapgate; check the path", .0.display())]
    Foreign(PathBuf),
    /// The file was written by another version.
    #[error(
        "the registrations file {} has format {found}, expected format {expected}; use the version of snapgate that \
         wrote it, or move it away to start without registrations and revocations",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// Format of the file.
        found: u32,
        /// Format of this version.
        expected: u32,
    },
    /// A part of the file that was on disk is unreadable.
    #[error(
        "the registrations file {} is damaged at byte {offset}, after {intact} intact records; restore it from a \
         copy, or move it away to start without registrations and revocations: clients register again when they \
         renew their tokens, revocations have to be repeated",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Position of the first unreadable byte.
        offset: u64,
        /// Number of records before it.
        intact: usize,
    },
    /// The file is shorter than it was.
    #[error(
        "the registrations file {} was truncated: it has {found} bytes and had at least {expected}; restore it from \
         a copy, or move it away to start without registrations and revocations: clients register again when they \
         renew their tokens, revocations have to be repeated",
        file.display()
    )]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Its length.
        found: u64,
        /// Its length when it was last synced to disk, or that of an empty registry.
        expected: u64,
    },
}

/// Error of storing a change.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be written.
    #[error("cannot write the registrations file {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Error of the kernel.
        source: Arc<io::Error>,
    },
    /// The thread that stored the change panicked.
    #[error("the thread that stored the change panicked")]
    Panicked,
}

impl StoreError {
    pub(super) fn io(file: &Path, source: io::Error) -> Self {
        Self::Io {
            file: file.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// Error of a revocation.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The revocation is in force, but a restart would forget it. The registry tries to store it again each time that
    /// [`Registry::expire`](super::Registry::expire) is called.
    #[error("the revocation is in force but not stored yet, a restart would forget it: {0}")]
    NotStored(#[from] StoreError),
    /// There are too many revocations.
    #[error(
        "there are {max} revocations already, which is the maximum; remove some that are no longer needed, or revoke \
         pssids instead of single tokens"
    )]
    Full {
        /// Maximum number of revocations.
        max: usize,
    },
    /// The end is not in the future.
    #[error("the end of the revocation is in the past; use a later time")]
    Past,
    /// The end is too late.
    #[error("a revocation may last for at most {max_days} days; use an earlier end")]
    TooLong {
        /// Maximum number of days.
        max_days: i64,
    },
    /// No token has such an id.
    #[error("the id has {found} bytes; ids of tokens and subscribers have at most {max}")]
    IdTooLong {
        /// Length of the id in bytes.
        found: usize,
        /// Maximum length.
        max: usize,
    },
}

//! A file with keys, and when to read it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::key_document::{KeyDocument, KeyDocumentFault};

/// Maximum size of a document with keys, in a file or from a URL, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Flags with which open(2) does not wait for other processes: the other end of a pipe, or the holder of a lease.
const OPEN_AT_ONCE: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// What a file contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyFormat {
    /// A public key in PEM, or a JWK.
    PublicKey,
    JwkSet,
}

/// A file with keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) format: KeyFormat,
}

/// Why a file with keys is unusable. The path is not part of the message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFileFault {
    /// Message of the operating system.
    #[error("cannot read: {0}")]
    Unreadable(String),
    /// A directory, a pipe, a socket or a device, which cannot be read again when it changes.
    #[error("not a regular file; check the path")]
    NotRegular,
    /// Larger than 1 MiB.
    #[error("larger than {DOCUMENT_BYTES_MAX} bytes; check the path")]
    TooLarge,
    /// The content is unusable.
    #[error(transparent)]
    Document(#[from] KeyDocumentFault),
}

impl From<io::Error> for KeyFileFault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Content of a file. It is wiped from memory, because it may be a private key by mistake.
pub(super) type Content = Zeroizing<Vec<u8>>;

impl KeyFile {
    /// Reads the file. This blocks, possibly without end if the storage hangs.
    pub(super) fn read(&self) -> Result<Content, KeyFileFault> {
        // Opening a device can have side effects.
        if !fs::metadata(&self.path)?.is_file() {
            return Err(KeyFileFault::NotRegular);
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OPEN_AT_ONCE)
            .open(&self.path)?;
        // The file may have been replaced since the first check.
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(KeyFileFault::NotRegular);
        }
        let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        if size > DOCUMENT_BYTES_MAX {
            return Err(KeyFileFault::TooLarge);
        }
        // A buffer that grows would leave copies in memory.
        let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
        let limit = DOCUMENT_BYTES_MAX as u64 + 1;
        file.take(limit).read_to_end(&mut content)?;
        if content.len() > DOCUMENT_BYTES_MAX {
            return Err(KeyFileFault::TooLarge);
        }
        Ok(content)
    }

    /// Parses the content of the file.
    pub(super) fn parse(&self, content: &[u8]) -> Result<KeyDocument, KeyFileFault> {
        let document = match self.format {
            KeyFormat::PublicKey => KeyDocument::of_public_key(content),
            KeyFormat::JwkSet => KeyDocument::of_jwk_set(content),
        };
        Ok(document?.require_public_keys()?)
    }
}

/// The hash of the content of a file, or why it cannot be read.
pub(super) type Version = Result<[u8; 32], KeyFileFault>;

/// Returns the version of a file from the result of reading it.
pub(super) fn version(read: &Result<Content, KeyFileFault>) -> Version {
    let mut hash = [0; 32];
    match read {
        Ok(content) => {
            hash.copy_from_slice(digest(&SHA256, content).as_ref());
            Ok(hash)
        }
        Err(fault) => Err(fault.clone()),
    }
}

/// Decides which of the versions of a polled file is used. A version has to be seen twice in a row, because a process
/// may be writing the file.
///
/// The content is compared, not the times of the file: they miss changes on file systems with coarse ones, and the
/// files are small.
#[derive(Debug)]
pub(super) struct Versions {
    used: Version,
    last: Version,
}

impl Versions {
    /// `used` is the version in use.
    pub(super) fn new(used: Version) -> Self {
        Self {
            last: used.clone(),
            used,
        }
    }

    /// Records the version `seen`. Returns true if it is to be used and was not before.
    pub(super) fn is_due(&mut self, seen: Version) -> bool {
        let is_settled = seen == self.last;
        let is_due = is_settled && seen != self.used;
        if is_due {
            self.used = seen;
        } else if !is_settled {
            self.last = seen;
        }
        is_due
    }

    /// Returns true if the file is as it was last used.
    pub(super) fn is_unchanged(&self) -> bool {
        self.last == self.used
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn key_file(path: PathBuf) -> KeyFile {
        KeyFile {
            path,
            format: KeyFormat::JwkSet,
        }
    }

    #[test]
    fn a_version_is_used_when_it_is_seen_twice() {
        let file = |content: u8| Ok([content; 32]);
        let missing = || Err(KeyFileFault::Unreadable("not found".to_owned()));
        let mut versions = Versions::new(file(1));
        for (seen, is_due) in [
            (file(1), false),
            // Being written.
            (file(2), false),
            (file(3), false),
            (file(3), true),
            (file(3), false),
            // Missing for a moment.
            (missing(), false),
            (file(3), false),
            (missing(), false),
            (missing(), true),
            (missing(), false),
            (file(3), false),
            (file(3), true),
        ] {
            assert_eq!(versions.is_due(seen.clone()), is_due, "{seen:?}");
        }
    }

    #[test]
    fn only_regular_files_of_limited_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let missing = key_file(directory.path().join("missing")).read();
        assert!(matches!(missing, Err(KeyFileFault::Unreadable(_))));
        let is_directory = key_file(directory.path().to_owned()).read();
        assert_eq!(is_directory, Err(KeyFileFault::NotRegular));
        let device = key_file("/dev/zero".into()).read();
        assert_eq!(device, Err(KeyFileFault::NotRegular));

        let path = directory.path().join("large");
        let file = File::create(&path).unwrap();
        let file_of = |bytes: usize| {
            file.set_len(bytes as u64).unwrap();
            key_file(path.clone()).read()
        };
        let largest = file_of(DOCUMENT_BYTES_MAX).unwrap();
        assert_eq!(largest.len(), DOCUMENT_BYTES_MAX);
        assert_eq!(file_of(DOCUMENT_BYTES_MAX + 1), Err(KeyFileFault::TooLarge));
    }

    #[test]
    fn a_pipe_without_a_writer_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(key_file(path).read(), Err(KeyFileFault::NotRegular));
    }
}

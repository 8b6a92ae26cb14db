//! Reading a text file that an operator named, with faults that people understand.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Why a file cannot be used. Reads on from the file's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FileFault {
    /// There is no such file.
    #[error("does not exist; check the path")]
    NotFound,
    /// It is a directory.
    #[error("is a directory; name a file in it")]
    IsADirectory,
    /// This user may not read it.
    #[error("may not be read by this user; check the permissions of the file and its directories")]
    NotPermitted,
    /// Something else, in the operating system's words.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It has too many bytes to be what it should be.
    #[error("is larger than {0} bytes; is it the right file?")]
    TooLarge(u64),
    /// It is not text.
    #[error("is not UTF-8 text: byte {offset} on line {line}; is it the right file?")]
    NotUtf8 {
        /// Bytes before it.
        offset: usize,
        /// Its line, counted from 1.
        line: usize,
    },
    /// It exists and shall not be overwritten.
    #[error("exists already and is not overwritten; choose another name or remove it first")]
    Exists,
    /// It cannot be written, in the operating system's words.
    #[error("cannot be written: {0}")]
    Unwritable(String),
}

impl FileFault {
    /// The fault behind a failed read.
    pub(crate) fn from_reading(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::IsADirectory => Self::IsADirectory,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Unreadable(error.to_string()),
        }
    }

    /// The fault behind a failed creation of a new file.
    pub(crate) fn from_creating(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::NotFound => Self::Unwritable("its directory does not exist".to_owned()),
            _ => Self::Unwritable(error.to_string()),
        }
    }
}

/// Reads a whole file of at most `max_bytes`, from memory that is wiped afterwards.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, FileFault> {
    let file = File::open(path).map_err(|error| FileFault::from_reading(&error))?;
    read_from(file, max_bytes)
}

/// Reads `source` to its end, like [`read`].
pub(crate) fn read_from(
    source: impl io::Read,
    max_bytes: u64,
) -> Result<Zeroizing<String>, FileFault> {
    // Reserved at once where a secret can be: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(max_bytes.min(64 << 10)).unwrap_or(0),
    ));
    source
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| FileFault::from_reading(&error))?;
    if bytes.len() as u64 > max_bytes {
        return Err(FileFault::TooLarge(max_bytes));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let offset = error.valid_up_to();
            let line = 1 + bytes
                .iter()
                .take(offset)
                .filter(|byte| **byte == b'\n')
                .count();
            Err(FileFault::NotUtf8 { offset, line })
        }
    }
}

/// Finds the line of a byte.
pub(crate) struct Lines {
    /// The offset of each newline.
    newlines: Vec<usize>,
}

impl Lines {
    /// Indexes a text.
    pub(crate) fn of(text: &str) -> Self {
        Self {
            newlines: text
                .bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(at, _)| at)
                .collect(),
        }
    }

    /// The line of the byte at `offset`, counted from 1.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        1 + self.newlines.partition_point(|newline| *newline < offset)
    }
}

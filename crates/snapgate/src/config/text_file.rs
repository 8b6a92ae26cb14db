//! Reading a text file that an operator named, with faults that people understand.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
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
    /// It has no content of its own: a pipe, a socket or a device.
    #[error("is a {0} and not a regular file, which it has to be to be read again when it changes")]
    NotRegular(&'static str),
    /// It is an open descriptor of this process.
    #[error(
        "is an open descriptor of this process and shows no new version of the file; give the path of the file"
    )]
    Descriptor,
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

/// Flags for open(2) that make it wait for no other process: neither for the other end of a pipe nor for one that
/// has a lease on the file (fcntl(2), F_SETLEASE).
pub(crate) const OPEN_AT_ONCE: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// Opens a regular file to read it, and waits for no other process.
pub(crate) fn open_regular(path: &Path) -> Result<File, FileFault> {
    // To open a device can have effects.
    check_regular(fs::metadata(path))?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OPEN_AT_ONCE)
        .open(path)
        .map_err(|error| FileFault::from_reading(&error))?;
    // Something else may have taken its name.
    check_regular(file.metadata())?;
    Ok(file)
}

fn check_regular(metadata: io::Result<fs::Metadata>) -> Result<(), FileFault> {
    let metadata = metadata.map_err(|error| FileFault::from_reading(&error))?;
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(())
    } else if kind.is_dir() {
        Err(FileFault::IsADirectory)
    } else {
        Err(FileFault::NotRegular(name_of(kind)))
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

/// Whether a path leads to an open file of a process (proc_pid_fd(5)), which stays the same file when another one
/// takes its name.
pub(crate) fn is_descriptor(path: &Path) -> bool {
    [
        "/dev/fd",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/proc",
    ]
    .iter()
    .any(|prefix| path.starts_with(prefix))
}

/// Reads a whole file of at most `max_bytes`, from memory that is wiped afterwards.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, FileFault> {
    let file = File::open(path).map_err(|error| FileFault::from_reading(&error))?;
    read_file(file, max_bytes)
}

/// Reads an open file to its end, like [`read`]. A regular file that is too large is not read at all.
pub(crate) fn read_file(file: File, max_bytes: u64) -> Result<Zeroizing<String>, FileFault> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > max_bytes => {
            Err(FileFault::TooLarge(max_bytes))
        }
        _ => read_from(file, max_bytes),
    }
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

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let read = read_file(file.try_clone().unwrap(), 1 << 20);
        assert_eq!(read, Err(FileFault::TooLarge(1 << 20)));
        assert_eq!(file.stream_position().unwrap(), 0);
    }
}

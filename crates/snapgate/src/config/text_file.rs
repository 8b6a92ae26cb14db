//! Reading of text files that an operator names.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Reason why a file is unusable. The file's name is not part of the message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub(crate) enum FileFault {
    #[error("not found; check the path")]
    NotFound,
    #[error("is a directory; use the path of a file")]
    IsADirectory,
    /// A pipe, a socket or a device, which cannot be read again when it changes.
    #[error("expected a regular file, which can be read again when it changes, got a {0}")]
    NotRegular(FileKind),
    /// A path to an open file of a process.
    #[error(
        "expected the path of a file, got an open descriptor, which does not show later versions \
         of the file"
    )]
    Descriptor,
    #[error("permission denied; check the permissions of the file and its directories")]
    NotPermitted,
    /// Message of the operating system.
    #[error("cannot read: {0}")]
    Unreadable(String),
    /// Maximum size in bytes.
    #[error("larger than {0} bytes; check the path")]
    TooLarge(u64),
    #[error("not UTF-8 text (byte {offset}, line {line}); check the path")]
    NotUtf8 {
        /// Offset of the first invalid byte.
        offset: usize,
        /// Its line, from 1.
        line: usize,
    },
    #[error("UTF-16 text; save it as UTF-8")]
    Utf16,
    #[error("already exists and is not overwritten; use another name or remove the file")]
    Exists,
    /// Message of the operating system.
    #[error("cannot write: {0}")]
    Unwritable(String),
}

/// Kind of a file that is neither a regular file nor a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum FileKind {
    Pipe,
    Socket,
    Device,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

impl FileFault {
    /// Returns the fault of a failed read.
    pub(crate) fn from_reading(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::IsADirectory => Self::IsADirectory,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Unreadable(error.to_string()),
        }
    }

    /// Returns the fault of a failed creation of a file.
    pub(crate) fn from_creating(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::NotFound => Self::Unwritable("its directory does not exist".to_owned()),
            _ => Self::Unwritable(error.to_string()),
        }
    }
}

/// The character U+FEFF at the start of a UTF-8 text, which some editors write. It is not part of the content.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Flags with which open(2) does not wait for other processes: the other end of a pipe, or the holder of a lease on
/// the file (fcntl(2), F_SETLEASE).
pub(crate) const OPEN_AT_ONCE: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// Opens a regular file for reading, without waiting for other processes.
pub(crate) fn open_regular(path: &Path) -> Result<File, FileFault> {
    // Opening a device can have side effects.
    check_regular(fs::metadata(path))?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OPEN_AT_ONCE)
        .open(path)
        .map_err(|error| FileFault::from_reading(&error))?;
    // The file may have been replaced since the first check.
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
        Err(FileFault::NotRegular(kind_of(kind)))
    }
}

fn kind_of(file: FileType) -> FileKind {
    if file.is_fifo() {
        FileKind::Pipe
    } else if file.is_socket() {
        FileKind::Socket
    } else {
        FileKind::Device
    }
}

/// Returns true if a path names an open file of a process (proc_pid_fd(5)), which stays the same file after a
/// replacement.
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

/// Reads a file of at most `max_bytes`, and leaves out a byte order mark. The returned text is wiped from memory when
/// dropped.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, FileFault> {
    let file = File::open(path).map_err(|error| FileFault::from_reading(&error))?;
    read_file(file, max_bytes)
}

/// Reads an open file like [`read`]. The size of a regular file is checked first.
pub(crate) fn read_file(file: File, max_bytes: u64) -> Result<Zeroizing<String>, FileFault> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > max_bytes => {
            Err(FileFault::TooLarge(max_bytes))
        }
        _ => read_from(file, max_bytes),
    }
}

/// Reads `source` like [`read`].
pub(crate) fn read_from(
    source: impl io::Read,
    max_bytes: u64,
) -> Result<Zeroizing<String>, FileFault> {
    // A growing buffer would leave copies of a secret in memory.
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
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(FileFault::Utf16);
    }
    let content = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    match std::str::from_utf8(content) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let offset = bytes.len() - content.len() + error.valid_up_to();
            let line = 1 + bytes
                .iter()
                .take(offset)
                .filter(|byte| **byte == b'\n')
                .count();
            Err(FileFault::NotUtf8 { offset, line })
        }
    }
}

/// Index of the lines of a text.
pub(crate) struct Lines {
    /// Offset of each newline.
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

    /// Returns the line of the byte at `offset`, from 1.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        1 + self.newlines.partition_point(|newline| *newline < offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let read = |bytes: &[u8]| read_from(bytes, 100).map(|text| text.to_string());
        assert_eq!(read(b"\xef\xbb\xbfkey"), Ok("key".to_owned()));
        assert_eq!(read(b"\xef\xbb\xbf"), Ok(String::new()));
        // Only the first one is a mark.
        let twice = read(b"\xef\xbb\xbf\xef\xbb\xbf");
        assert_eq!(twice, Ok("\u{feff}".to_owned()));
        let fault = FileFault::NotUtf8 { offset: 5, line: 2 };
        assert_eq!(read(b"\xef\xbb\xbfa\n\xff"), Err(fault));
    }

    #[test]
    fn utf_16_is_named() {
        for bytes in [b"\xff\xfek\0", b"\xfe\xff\0k"] {
            assert_eq!(read_from(&bytes[..], 100), Err(FileFault::Utf16));
        }
    }

    #[test]
    fn too_large_file_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let read = read_file(file.try_clone().unwrap(), 1 << 20);
        assert_eq!(read, Err(FileFault::TooLarge(1 << 20)));
        assert_eq!(file.stream_position().unwrap(), 0);
    }
}

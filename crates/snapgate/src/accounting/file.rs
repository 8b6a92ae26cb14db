//! The file of the accounting log, appended to by another process.
//!
//! The argument of a request is the length of the path (`u32`), the path, and the lines. The answer is empty, or an
//! error.
//!
//! The file is opened for each write. So a file that was renamed or removed, as by logrotate, is followed by a new one at
//! the same path, without a signal and without a lost line.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::text_file::OPEN_AT_ONCE;
use crate::file_process::{self, FileClient, FileProcess, FileTask};

const APPEND: u8 = b'a';

/// Permissions of a new file: it has public keys and addresses of clients.
const MODE: u32 = 0o600;

/// A file that is appended to.
pub(super) struct AccountingFile {
    path: PathBuf,
    client: FileClient,
}

impl AccountingFile {
    /// Starts a process that writes. If it cannot be started, the calling thread writes.
    pub(super) fn open(path: &Path) -> Self {
        let process = FileProcess::start(FileTask::Accounting).inspect_err(|error| {
            tracing::warn!(
                %error,
                hint = "if the storage of the accounting log hangs, this process cannot end",
                "cannot start a process for the accounting log"
            );
        });
        Self {
            path: path.to_owned(),
            client: FileClient::new(FileTask::Accounting, process.ok()),
        }
    }

    /// Appends lines, all or none of them. Creates a file that does not exist, also without lines.
    ///
    /// # Errors
    ///
    /// Errors of the file, or the other process has ended. The next call starts another one.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let path = self.path.as_os_str().as_bytes();
        let length = u32::try_from(path.len()).map_err(io::Error::other)?;
        let argument = [&length.to_le_bytes(), path, lines].concat();
        match self.client.ask(APPEND, &argument) {
            None => append(&self.path, lines),
            Some(answer) => match answer?.as_slice() {
                [] => Ok(()),
                error => Err(file_process::decode_error(error)),
            },
        }
    }
}

/// Appends to files for another process, until that ends.
///
/// # Errors
///
/// Those of [`file_process::serve`].
pub(crate) fn serve() -> io::Result<()> {
    file_process::serve(answer)
}

fn answer(operation: u8, argument: &[u8]) -> Vec<u8> {
    let appended = match (operation, parse(argument)) {
        (APPEND, Some((path, lines))) => append(path, lines),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    appended.map_or_else(|error| file_process::encode_error(&error), |()| Vec::new())
}

/// Returns the path and the lines of a request.
fn parse(argument: &[u8]) -> Option<(&Path, &[u8])> {
    let (length, rest) = argument.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (path, lines) = rest.split_at_checked(length)?;
    Some((Path::new(OsStr::from_bytes(path)), lines))
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    // Opening a device can have side effects.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(not_a_file());
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(OPEN_AT_ONCE)
        .open(path)?;
    // The file may have been replaced since the first check.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    let length = metadata.len();
    write(&mut file, length, lines).inspect_err(|_| {
        // Room on a full disk may suffice for a part of the lines.
        if file.metadata().is_ok_and(|now| now.len() > length) {
            // If this fails, the next write ends the line.
            let _ = file.set_len(length);
        }
    })
}

fn not_a_file() -> io::Error {
    io::Error::other("it is not a regular file")
}

/// Writes at the end of a file that has `length` bytes, on a new line.
fn write(file: &mut File, length: u64, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    if let Some(last) = length.checked_sub(1) {
        let mut end = [0];
        file.read_exact_at(&mut end, last)?;
        // A host that lost its power may have kept a part of the last line.
        if end != *b"\n" {
            return file.write_all(&[b"\n", lines].concat());
        }
    }
    file.write_all(lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounting");
        (directory, path)
    }

    fn request(path: &Path, lines: &[u8]) -> Vec<u8> {
        let path = path.as_os_str().as_bytes();
        let length = u32::try_from(path.len()).unwrap().to_le_bytes();
        answer(APPEND, &[&length, path, lines].concat())
    }

    #[test]
    fn lines_are_appended_to_a_file_that_only_its_owner_reads() {
        let (_directory, path) = file();
        assert_eq!(request(&path, b""), b"");
        assert_eq!(fs::read(&path).unwrap(), b"");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(request(&path, b"one\n"), b"");
        assert_eq!(request(&path, b"two\nthree\n"), b"");
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_renamed_or_removed_file_is_followed_by_a_new_one() {
        let (directory, path) = file();
        append(&path, b"one\n").unwrap();
        let old = directory.path().join("accounting.1");
        fs::rename(&path, &old).unwrap();
        append(&path, b"two\n").unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"one\n");
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        fs::remove_file(&path).unwrap();
        append(&path, b"three\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    #[test]
    fn a_torn_line_is_ended() {
        let (_directory, path) = file();
        fs::write(&path, "one\n{\"torn").unwrap();
        append(&path, b"").unwrap();
        append(&path, b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\n{\"torn\ntwo\n");
    }

    #[test]
    fn only_regular_files_are_opened() {
        let (directory, path) = file();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [path.as_path(), directory.path(), Path::new("/dev/null")] {
            let error = file_process::decode_error(&request(path, b"one\n"));
            assert_eq!(error.to_string(), "it is not a regular file", "{path:?}");
        }
        let missing = directory.path().join("missing/accounting");
        let error = file_process::decode_error(&request(&missing, b""));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_invalid_request_is_an_error() {
        for argument in [&b""[..], b"\x09\0\0\0path", b"\xff\xff\xff\xff"] {
            let error = file_process::decode_error(&answer(APPEND, argument));
            assert_eq!(error.kind(), io::ErrorKind::Other, "{error}");
        }
        assert!(!answer(b'?', b"\0\0\0\0").is_empty());
    }
}

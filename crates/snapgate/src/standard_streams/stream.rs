//! The standard streams of a process by their descriptors.
//!
//! `io::stdout()` and `io::stderr()` have locks, which a write that blocks would hold.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, write};
use rustix::stdio;

/// Pause before another attempt when a stream is non-blocking and full.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A standard stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    Input,
    Output,
    Error,
}

/// Device and inode of a file.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct FileId(u64, u64);

impl Stream {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
            Self::Error => "standard error",
        }
    }

    pub(super) const fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Input => stdio::stdin(),
            Self::Output => stdio::stdout(),
            Self::Error => stdio::stderr(),
        }
    }

    /// Returns the file behind the stream, if its operations can wait for storage.
    pub(super) fn file(self) -> io::Result<Option<FileId>> {
        let stat = fstat(self.descriptor())?;
        let needs_no_storage = matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::Fifo | FileType::Socket | FileType::CharacterDevice
        );
        Ok((!needs_no_storage).then_some(FileId(stat.st_dev, stat.st_ino)))
    }

    /// Makes the stream a copy of another descriptor.
    pub(super) fn replace(self, by: &impl AsFd) -> io::Result<()> {
        match self {
            Self::Input => stdio::dup2_stdin(by)?,
            Self::Output => stdio::dup2_stdout(by)?,
            Self::Error => stdio::dup2_stderr(by)?,
        }
        Ok(())
    }

    /// Writes all of `text`, however long that takes.
    pub(crate) fn write_all(self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match write(self.descriptor(), text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => text = &text[written..],
                Err(Errno::INTR) => {}
                // Another process that shares the pipe has made it non-blocking.
                Err(Errno::AGAIN) => thread::sleep(RETRY_INTERVAL),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

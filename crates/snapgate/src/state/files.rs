//! The files of a state directory: locked, read, replaced, set aside.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::text_file::OPEN_AT_ONCE;
use crate::state::error::StateError;

/// The file with the records.
pub(super) const FILE: &str = "tunnels";

/// Name of the file while it is written.
pub(super) const NEW_FILE: &str = "tunnels.new";

/// Locked while a process uses the directory. The state file itself cannot be locked, because it is replaced.
pub(super) const LOCK_FILE: &str = "lock";

/// Maximum size of a file that is read: that of 16 million tunnels.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Number of attempts to lock a file that others replace.
const LOCK_ATTEMPTS: usize = 10;

/// The files of a locked state directory. Every method waits for storage.
pub(crate) trait StateFiles: Send {
    /// Reads the state file.
    fn read(&mut self) -> io::Result<Found>;

    /// Renames the state file, so that it is neither overwritten nor read again.
    fn set_aside(&mut self, name: &str) -> io::Result<()>;

    /// Replaces the state file. The previous one is kept if this fails. Fails if another process has locked the
    /// directory since, which is possible only after the lock file or the directory was replaced.
    fn replace(&mut self, content: &[u8]) -> io::Result<()>;

    /// Returns true if the lock file, and the state file if it was replaced by this process, are still at their paths.
    fn are_in_place(&mut self) -> io::Result<bool>;
}

/// Opens a state directory.
pub(crate) type OpenFiles = fn(&Path) -> Result<Box<dyn StateFiles>, StateError>;

/// A state file that was read.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Nothing,
    /// A directory, a pipe or a device.
    NotAFile,
    Content(Vec<u8>),
}

/// Files that the calling thread reads and writes.
pub(crate) struct LocalFiles {
    directory: PathBuf,
    lock: DirectoryLock,
    /// The state file that this process wrote last.
    written: Option<FileId>,
}

/// Distinguishes files. A removed file may give its inode to another one.
type FileId = (u64, u64, u64);

impl LocalFiles {
    /// Locks a directory.
    pub(crate) fn open(directory: &Path) -> Result<Box<dyn StateFiles>, StateError> {
        let lock = DirectoryLock::acquire(directory).map_err(|refused| match refused {
            TryLockError::WouldBlock => StateError::InUse(directory.to_owned()),
            TryLockError::Error(source) => StateError::Unwritable {
                directory: directory.to_owned(),
                source,
            },
        })?;
        Ok(Box::new(Self {
            directory: directory.to_owned(),
            lock,
            written: None,
        }))
    }

    fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Locks the directory again if its lock file was replaced. Two processes otherwise have the locks of two files.
    fn hold_lock(&mut self) -> io::Result<()> {
        if self.lock.is_in_place(&self.directory) {
            return Ok(());
        }
        // A lock of the same file by another descriptor would be refused.
        self.lock.release();
        self.lock = DirectoryLock::acquire(&self.directory).map_err(|refused| match refused {
            TryLockError::WouldBlock => in_use(),
            TryLockError::Error(error) => error,
        })?;
        Ok(())
    }

    fn write(&mut self, new_file: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = create(new_file)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        // Storage may have been slow.
        if !self.lock.is_in_place(&self.directory) {
            return Err(in_use());
        }
        fs::rename(new_file, self.file())?;
        self.written = id_at(&self.file()).ok();
        // The directory holds the new name, so it is synced, too.
        File::open(&self.directory)?.sync_all()
    }
}

impl StateFiles for LocalFiles {
    fn read(&mut self) -> io::Result<Found> {
        match fs::metadata(self.file()) {
            Ok(metadata) if !metadata.is_file() => return Ok(Found::NotAFile),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OPEN_AT_ONCE)
            .open(self.file())?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Found::Content(bytes))
    }

    fn set_aside(&mut self, name: &str) -> io::Result<()> {
        fs::rename(self.file(), self.directory.join(name))
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.hold_lock()?;
        let new_file = self.directory.join(NEW_FILE);
        let written = self.write(&new_file, content);
        if written.is_err() && self.lock.is_in_place(&self.directory) {
            // The incomplete file takes space on a disk that may be full.
            let _gone = fs::remove_file(&new_file);
        }
        written
    }

    fn are_in_place(&mut self) -> io::Result<bool> {
        let is_written = match self.written {
            None => true,
            Some(written) => match id_at(&self.file()) {
                Ok(found) => found == written,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            },
        };
        Ok(is_written && self.lock.is_in_place(&self.directory))
    }
}

fn in_use() -> io::Error {
    let text = "the lock file was replaced, and another process uses the state directory";
    io::Error::new(io::ErrorKind::ResourceBusy, text)
}

/// Returns the file at a path.
fn id_at(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|metadata| id_of(&metadata))
}

fn id_of(metadata: &fs::Metadata) -> FileId {
    (metadata.dev(), metadata.ino(), metadata.len())
}

/// Creates a file that only its owner can read, in place of any file of that name. The target of a symbolic link stays
/// unchanged.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Exclusive lock on a state directory, against other processes and other stores of this process.
struct DirectoryLock(File);

impl DirectoryLock {
    fn acquire(directory: &Path) -> Result<Self, TryLockError> {
        for _ in 0..LOCK_ATTEMPTS {
            // Nothing is written to the file, and another process may have it open.
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OPEN_AT_ONCE)
                .open(directory.join(LOCK_FILE))
                .map_err(TryLockError::Error)?;
            file.try_lock()?;
            let lock = Self(file);
            // It may have been replaced before it was locked.
            if lock.is_in_place(directory) {
                return Ok(lock);
            }
        }
        Err(TryLockError::WouldBlock)
    }

    /// Returns true if the path of the lock file leads to the locked file, whose inode is in use and therefore unique.
    fn is_in_place(&self, directory: &Path) -> bool {
        let found = fs::metadata(directory.join(LOCK_FILE)).map(|metadata| id_of(&metadata));
        let locked = self.0.metadata().map(|metadata| id_of(&metadata));
        matches!((found, locked), (Ok(found), Ok(locked)) if found == locked)
    }

    fn release(&self) {
        // If this fails, closing the file still releases the lock.
        let _ = self.0.unlock();
    }
}

impl Drop for DirectoryLock {
    /// Releases the lock explicitly. Closing the file would release it only when the last copy of the descriptor is
    /// closed (flock(2)), and a forked process has a copy until it executes a program.
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;

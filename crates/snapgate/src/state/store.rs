//! The state file: read, replaced, set aside.
//!
//! The file is a snapshot of all records. A commit writes another file beside it, syncs that to disk and renames it, so
//! the name always leads to a complete file, even if the process or the machine fails.
//!
//! The size of a snapshot is proportional to the number of tunnels, which change all the time. Large files are
//! therefore written less often: the bytes written per second are bounded, and so is the share of its tunnels that a
//! killed process loses. `docs/DECISIONS.md` compares this with a log.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::text_file::OPEN_AT_ONCE;
use crate::state::clock::{Moment, Reading};
use crate::state::format::{self, Content, Record, Unreadable};
use crate::state::{COMMIT_INTERVAL, COMMIT_INTERVAL_MAX, RECORD_LIFETIME};

/// The file with the records.
const FILE: &str = "tunnels";

/// Name of the file while it is written.
const NEW_FILE: &str = "tunnels.new";

/// Locked while a process uses the directory. The state file itself cannot be locked, because it is replaced.
const LOCK_FILE: &str = "lock";

/// Maximum bytes per second written because tunnels changed, 10 MB a minute: files of up to 160 KB (3,400 tunnels over
/// IPv4) are written every second, a file of 100,000 tunnels every [`COMMIT_INTERVAL_MAX`].
const BYTES_PER_SECOND: usize = 160_000;

/// Maximum size of a file that is read: that of 16 million tunnels.
const FILE_BYTES_MAX: u64 = 1 << 30;

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

/// The records, in memory and in the file.
pub(crate) struct Store {
    directory: PathBuf,
    /// Held for the lifetime of the store.
    _lock: DirectoryLock,
    public_key: [u8; 32],
    records: HashMap<SocketAddr, Record>,
    records_max: usize,
    /// True if the file differs from the records.
    is_dirty: bool,
    /// Boot time of the last commit, and the size of the file; 0 if it was not written.
    last_commit: Option<(Duration, usize)>,
    moment: Moment,
}

impl Store {
    /// Locks a directory and reads the records that the previous process left there, except those that are too old. A
    /// file that cannot be used is set aside with a warning. Nothing is written to the file before
    /// [`commit`](Self::commit).
    ///
    /// The number of records is at most `records_max`.
    pub(crate) fn open(
        directory: &Path,
        public_key: &[u8; 32],
        records_max: usize,
        reading: &Reading,
    ) -> Result<Self, StateError> {
        let lock = DirectoryLock::acquire(directory)?;
        let mut store = Self {
            directory: directory.to_owned(),
            _lock: lock,
            public_key: *public_key,
            records: HashMap::new(),
            records_max,
            is_dirty: true,
            last_commit: None,
            moment: Moment::first(reading),
        };
        match store.read() {
            Ok(Some(content)) => store.take_over(content, reading),
            Ok(None) => {}
            Err(unreadable) => store.set_aside(&unreadable),
        }
        Ok(store)
    }

    /// Returns the content of the file, or `None` if it does not exist.
    fn read(&self) -> Result<Option<Content>, Unreadable> {
        match fs::metadata(self.file()) {
            Ok(metadata) if !metadata.is_file() => return Err(Unreadable::NotAStateFile),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OPEN_AT_ONCE)
            .open(self.file())?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        format::read(&bytes, &self.public_key).map(Some)
    }

    fn take_over(&mut self, content: Content, reading: &Reading) {
        for (remote, mut record) in content.records {
            let (age, heard_at) = content.moment.translate(record.heard_at, reading);
            record.heard_at = heard_at;
            if age <= RECORD_LIFETIME {
                self.insert(remote, record);
            }
        }
        self.moment = content.moment.at(reading);
    }

    /// Renames the file, so that it is neither overwritten nor read again.
    fn set_aside(&self, unreadable: &Unreadable) {
        let file = self.file();
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let aside = self.directory.join(format!("{FILE}.aside-{time}"));
        let hint = "clients of the previous process notice the restart after up to 15 s";
        match fs::rename(&file, &aside) {
            Ok(()) => tracing::warn!(
                file = %file.display(),
                error = %unreadable,
                moved_to = %aside.display(),
                hint,
                "unusable state file set aside"
            ),
            Err(rename_error) => tracing::warn!(
                file = %file.display(),
                error = %unreadable,
                %rename_error,
                hint,
                "unusable state file will be replaced"
            ),
        }
    }

    /// Returns the path of the file with the records.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Returns the last known moment: that of the previous process until the first commit.
    pub(crate) fn moment(&self) -> &Moment {
        &self.moment
    }

    /// Returns the number of records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the tunnels that were heard from recently.
    pub(crate) fn recent(&self, reading: &Reading) -> Vec<(SocketAddr, [u8; 32])> {
        let oldest = reading.boottime.saturating_sub(RECORD_LIFETIME);
        let recent = |(remote, record): (&SocketAddr, &Record)| {
            (record.heard_at >= oldest).then_some((*remote, record.identity))
        };
        self.records.iter().filter_map(recent).collect()
    }

    /// Adds or replaces the record of a tunnel, if there is room.
    pub(crate) fn insert(&mut self, remote: SocketAddr, record: Record) {
        if self.records.len() < self.records_max || self.records.contains_key(&remote) {
            self.records.insert(remote, record);
            self.is_dirty = true;
        }
    }

    /// Removes the record of a tunnel.
    pub(crate) fn remove(&mut self, remote: SocketAddr) {
        self.records.remove(&remote);
        self.is_dirty = true;
    }

    /// Returns true if the file differs from the records.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Returns true if a [`commit`](Self::commit) is due: there are changes and the last commit is long enough ago for
    /// its size, or the last commit was [`COMMIT_INTERVAL_MAX`] ago, or the system clock was set forward. A clock that
    /// was set forward is recorded at once, because the next process has to know the latest timestamps.
    pub(crate) fn is_due(&self, reading: &Reading) -> bool {
        let Some((at, file_bytes)) = self.last_commit else {
            return true;
        };
        let interval = Duration::from_secs((file_bytes / BYTES_PER_SECOND) as u64)
            .clamp(COMMIT_INTERVAL, COMMIT_INTERVAL_MAX);
        let since = reading.boottime.saturating_sub(at);
        since >= COMMIT_INTERVAL_MAX
            || self.is_dirty && since >= interval
            || self.moment.is_overtaken_by(reading)
    }

    /// Replaces the file by a snapshot of the records and the time.
    ///
    /// # Errors
    ///
    /// Errors of the file system; the previous file is kept.
    pub(crate) fn commit(&mut self, reading: &Reading) -> io::Result<()> {
        let moment = self.moment.at(reading);
        let oldest = reading.boottime.saturating_sub(RECORD_LIFETIME);
        self.records.retain(|_, record| record.heard_at >= oldest);
        let bytes = format::write(&self.public_key, &moment, self.records.iter());

        let new_file = self.directory.join(NEW_FILE);
        let written = create(&new_file).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new_file, self.file())?;
            // The directory holds the new name, so it is synced, too.
            File::open(&self.directory)?.sync_all()
        });
        self.is_dirty = written.is_err();
        let file_bytes = if written.is_ok() {
            self.moment = moment;
            bytes.len()
        } else {
            // The incomplete file takes space on a disk that may be full.
            let _gone = fs::remove_file(&new_file);
            // Retried after the shortest interval.
            0
        };
        self.last_commit = Some((reading.boottime, file_bytes));
        written
    }
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
    fn acquire(directory: &Path) -> Result<Self, StateError> {
        let unwritable = |source| StateError::Unwritable {
            directory: directory.to_owned(),
            source,
        };
        // Nothing is written to the file, and another process may have it open.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OPEN_AT_ONCE)
            .open(directory.join(LOCK_FILE))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(unwritable(source)),
        }
    }
}

impl Drop for DirectoryLock {
    /// Releases the lock explicitly. Closing the file would release it only when the last copy of the descriptor is
    /// closed (flock(2)), and a forked process has a copy until it executes a program.
    fn drop(&mut self) {
        // If this fails, closing the file still releases the lock.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests;

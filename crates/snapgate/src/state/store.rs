//! The state file: read, replaced, set aside.
//!
//! The file is a snapshot of all records. Every commit writes another file beside it, flushes that to the disk and
//! renames it, so that at any moment the name leads to a whole file, whatever ends the process or the machine.
//!
//! A snapshot is as large as there are tunnels, and they change all the time. So large files are written less often:
//! the bytes written in a second are bounded, and what a killed process does not leave behind is a bounded part of its
//! tunnels. `docs/DECISIONS.md` compares this with a log.

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

/// Locked while a process uses the directory. The file itself cannot be: it is replaced.
const LOCK_FILE: &str = "lock";

/// Bytes per second that changes of tunnels may cause to be written, 10 MB a minute: files of up to 160 KB (3,400
/// tunnels over IPv4) are written every second, one of 100,000 tunnels every [`COMMIT_INTERVAL_MAX`].
const BYTES_PER_SECOND: usize = 160_000;

/// A larger file is not read. 16 million tunnels have one as large.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a state directory cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// No file can be made there.
    #[error(
        "cannot write to the state directory {}: {source}; it has to exist and belong to the user that \
         runs snapgate (StateDirectory= of the service)",
        directory.display()
    )]
    Unwritable {
        /// The directory.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "another snapgate uses the state directory {}; stop it, or give each a directory of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The kernel does not say which boot this is.
    #[error("cannot read /proc/sys/kernel/random/boot_id, which the state directory needs: {0}")]
    Boot(io::Error),
    /// The thread cannot be started.
    #[error("cannot start the thread that writes the state: {0}")]
    Thread(io::Error),
}

/// The records, in memory and in their file.
pub(crate) struct Store {
    directory: PathBuf,
    /// Held for the lifetime of the store.
    _lock: DirectoryLock,
    public_key: [u8; 32],
    records: HashMap<SocketAddr, Record>,
    records_max: usize,
    /// The file is not what the records are.
    is_dirty: bool,
    /// Time of the last commit since the boot, and the size of the file; 0 if it was not written.
    last_commit: Option<(Duration, usize)>,
    moment: Moment,
}

impl Store {
    /// Takes possession of a directory and reads what the previous process left there, except records that are too
    /// old to be of use. A file that cannot be used is set aside with a warning. Nothing is written to the file
    /// before [`commit`](Self::commit).
    ///
    /// There are never more than `records_max` records.
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

    /// The content of the file, if there is one.
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

    /// Renames the file, so that nothing overwrites it and nobody reads it again.
    fn set_aside(&self, unreadable: &Unreadable) {
        let file = self.file();
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let aside = self.directory.join(format!("{FILE}.aside-{time}"));
        let becomes = match fs::rename(&file, &aside) {
            Ok(()) => format!("it is now {}", aside.display()),
            Err(error) => format!("it cannot be renamed ({error}) and will be replaced"),
        };
        tracing::warn!(
            "the state file {} cannot be used: {unreadable}; {becomes}; clients of the previous process are served \
             when they notice the restart themselves, within 15 s",
            file.display(),
        );
    }

    /// The file with the records.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The last moment known: that of the previous process until the first commit.
    pub(crate) fn moment(&self) -> &Moment {
        &self.moment
    }

    /// How many tunnels there are records of.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The tunnels that were heard from lately.
    pub(crate) fn recent(&self, reading: &Reading) -> Vec<(SocketAddr, [u8; 32])> {
        let oldest = reading.boottime.saturating_sub(RECORD_LIFETIME);
        let recent = |(remote, record): (&SocketAddr, &Record)| {
            (record.heard_at >= oldest).then_some((*remote, record.identity))
        };
        self.records.iter().filter_map(recent).collect()
    }

    /// Adds or replaces the record of a tunnel, if there is room for it.
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

    /// Whether the file lacks anything.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Whether it is time to [`commit`](Self::commit): there are changes and the last commit is long enough ago for
    /// its size, or nothing was committed for [`COMMIT_INTERVAL_MAX`], or the system clock was set forward. Of that
    /// the file has to tell at once: a process that ended before would leave stamps that nobody knows of.
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

    /// Replaces the file by a snapshot of the records, with the time.
    ///
    /// # Errors
    ///
    /// Those of the file system. The file is what it was before.
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
            // The name is in the directory, which has to reach the disk as well.
            File::open(&self.directory)?.sync_all()
        });
        self.is_dirty = written.is_err();
        let file_bytes = if written.is_ok() {
            self.moment = moment;
            bytes.len()
        } else {
            // It takes room where there may be none.
            let _gone = fs::remove_file(&new_file);
            // Tried again after the shortest interval, whatever the size.
            0
        };
        self.last_commit = Some((reading.boottime, file_bytes));
        written
    }
}

/// Makes a file that its owner alone can read, in place of any of that name. What a link of that name leads to
/// stays as it is.
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
        // Nothing is written to it, and another process may have it open.
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
    /// Releases the lock explicitly. Closing the file would release it only when the last copy of the descriptor
    /// is closed (flock(2)), and a forked process has one until it executes a program.
    fn drop(&mut self) {
        // If this fails, closing the file still releases the lock.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests;

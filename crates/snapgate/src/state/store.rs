//! The state file: opened, appended to, written anew, set aside.
//!
//! Every commit appends frames and flushes them to the disk. When the file has grown to several times what is
//! live in it, the next commit writes another beside it and renames that. So the file is whole at any moment
//! at which the process can be killed, and what a power failure cuts off is told by the checks.
//!
//! An embedded database would do as well, but for what it writes. Of 100,000 tunnels one in sixty is told of in a
//! second, in no order: 1,667 records, 0.08 MB appended, 0.11 MB with what is written anew. A tree of pages touches
//! most of its pages for that (redb 4.6: 4.6 MB, every second). And whatever is in the file, reading it cannot fail in
//! another way than by a check.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::text_file::OPEN_AT_ONCE;
use crate::state::RECORD_LIFETIME;
use crate::state::clock::{Moment, Reading};
use crate::state::format::{
    CHANGE_BYTES_MAX, Change, Check, FrameReader, Record, Unreadable, write_frames, write_header,
};

/// The file with the records.
const FILE: &str = "tunnels";

/// What the file is called while it is written anew.
const NEW_FILE: &str = "tunnels.new";

/// Locked while a process uses the directory. The file itself cannot be: it is replaced.
const LOCK_FILE: &str = "lock";

/// A file may have so many bytes that say nothing before it is written anew.
const WASTE_BYTES_MAX: u64 = 1 << 20;

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
    /// Changes that the file does not have.
    pending: Vec<Change>,
    /// The file, unless it has to be written anew.
    log: Option<Log>,
    moment: Moment,
}

/// A file that can be appended to.
struct Log {
    file: File,
    check: Check,
    bytes: u64,
}

impl Store {
    /// Takes possession of a directory and reads what the process before left there, but for what is too old
    /// to be of use. A file that was damaged is set aside with a warning, and what could be read is used. Nothing is written to the file before [`commit`](Self::commit).
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
            pending: Vec::new(),
            log: None,
            moment: Moment::first(reading),
        };
        if let Err(unreadable) = store.read(reading) {
            store.set_aside(&unreadable);
        }
        Ok(store)
    }

    fn read(&mut self, reading: &Reading) -> Result<(), Unreadable> {
        match fs::metadata(self.file()) {
            Ok(metadata) if !metadata.is_file() => return Err(Unreadable::NotAStateFile),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OPEN_AT_ONCE)
            .open(self.file())?;
        let file = BufReader::new(file);
        let mut reader = FrameReader::new(file, &self.public_key)?;
        let mut last = None;
        let end = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    last = Some(frame.moment);
                    frame.changes.iter().for_each(|change| self.apply(change));
                }
                Ok(None) => break Ok(()),
                Err(cut_off @ Unreadable::CutOff(_)) => {
                    tracing::info!(
                        "the last write to the state file {} was not finished: {cut_off}",
                        self.file().display()
                    );
                    break Ok(());
                }
                Err(unreadable) => break Err(unreadable),
            }
        };
        if let Some(last) = last {
            self.records.retain(|_, record| {
                let (age, heard_at) = last.translate(record.heard_at, reading);
                record.heard_at = heard_at;
                age <= RECORD_LIFETIME
            });
            self.moment = last.at(reading);
        }
        end
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
            "the state file {} cannot be used: {unreadable}; {becomes}; tunnels read from it: {}",
            file.display(),
            self.records.len()
        );
    }

    /// The file with the records.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The last moment known: that of the process before until the first commit.
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

    /// Takes in a change, for the next commit to write.
    pub(crate) fn note(&mut self, change: Change) {
        self.apply(&change);
        self.pending.push(change);
    }

    /// Whether there is anything to commit but the time: changes, or what could not be written.
    pub(crate) fn has_changes(&self) -> bool {
        !self.pending.is_empty() || self.log.is_none()
    }

    fn apply(&mut self, change: &Change) {
        match *change {
            Change::Seen { remote, record } => {
                if self.records.len() < self.records_max || self.records.contains_key(&remote) {
                    self.records.insert(remote, record);
                }
            }
            Change::Gone { remote } => {
                self.records.remove(&remote);
            }
        }
    }

    /// Writes what has changed, and that the process lives.
    ///
    /// # Errors
    ///
    /// Those of the file system. The next call writes everything.
    pub(crate) fn commit(&mut self, reading: &Reading) -> io::Result<()> {
        self.moment = self.moment.at(reading);
        let pending = std::mem::take(&mut self.pending);
        let live = self.records.len() * CHANGE_BYTES_MAX;
        let appended = match self.log.take() {
            Some(log) if log.bytes <= 2 * live as u64 + WASTE_BYTES_MAX => {
                log.append(&self.moment, pending)
            }
            _ => self.write_anew(reading),
        };
        self.log = Some(appended?);
        Ok(())
    }

    fn write_anew(&mut self, reading: &Reading) -> io::Result<Log> {
        let oldest = reading.boottime.saturating_sub(RECORD_LIFETIME);
        self.records.retain(|_, record| record.heard_at >= oldest);
        let (mut bytes, mut check) = write_header(&self.public_key);
        let records = self.records.iter().map(|(remote, record)| Change::Seen {
            remote: *remote,
            record: *record,
        });
        write_frames(&mut check, &self.moment, records, &mut bytes);

        let new_file = self.directory.join(NEW_FILE);
        let written = create(&new_file).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new_file, self.file())?;
            // The name is in the directory, which has to reach the disk as well.
            File::open(&self.directory)?.sync_all()?;
            Ok(file)
        });
        match written {
            Ok(file) => Ok(Log {
                file,
                check,
                bytes: bytes.len() as u64,
            }),
            Err(error) => {
                // It takes room where there may be none.
                let _gone = fs::remove_file(&new_file);
                Err(error)
            }
        }
    }
}

impl Log {
    fn append(mut self, moment: &Moment, changes: Vec<Change>) -> io::Result<Self> {
        let mut bytes = Vec::new();
        write_frames(&mut self.check, moment, changes, &mut bytes);
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Else the file would seem damaged to the process after this one.
            let _as_it_was = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(self)
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

//! The records of the state file, and when to write them.
//!
//! The file is a snapshot of all records. A commit writes another file beside it, syncs that to disk and renames it, so
//! the name always leads to a complete file, even if the process or the machine fails.
//!
//! The size of a snapshot is proportional to the number of tunnels, which change all the time. Large files are
//! therefore written less often: the bytes written per second are bounded, and so is the share of its tunnels that a
//! killed process loses. `docs/DECISIONS.md` compares this with a log.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::state::clock::{Moment, Reading};
use crate::state::error::StateError;
use crate::state::files::{FILE, Found, OpenFiles, StateFiles};
use crate::state::format::{self, Content, Record, Unreadable};
use crate::state::{COMMIT_INTERVAL, COMMIT_INTERVAL_MAX, RECORD_LIFETIME};

/// Maximum bytes per second written because tunnels changed, 10 MB a minute: files of up to 160 KB (3,400 tunnels over
/// IPv4) are written every second, a file of 100,000 tunnels every [`COMMIT_INTERVAL_MAX`].
const BYTES_PER_SECOND: usize = 160_000;

/// Maximum interval between attempts while writes fail.
const RETRY_INTERVAL_MAX: Duration = COMMIT_INTERVAL_MAX;

/// The records, in memory and in the file.
pub(crate) struct Store {
    directory: PathBuf,
    files: Box<dyn StateFiles>,
    public_key: [u8; 32],
    records: HashMap<SocketAddr, Record>,
    records_max: usize,
    /// True if the file differs from the records.
    is_dirty: bool,
    /// Boot time of the last commit, successful or not, and the size of the file.
    last_commit: Option<(Duration, usize)>,
    /// Number of failed commits since the last successful one.
    failures: u32,
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
        open_files: OpenFiles,
        public_key: &[u8; 32],
        records_max: usize,
        reading: &Reading,
    ) -> Result<Self, StateError> {
        let mut store = Self {
            files: open_files(directory)?,
            directory: directory.to_owned(),
            public_key: *public_key,
            records: HashMap::new(),
            records_max,
            is_dirty: true,
            last_commit: None,
            failures: 0,
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
    fn read(&mut self) -> Result<Option<Content>, Unreadable> {
        match self.files.read()? {
            Found::Nothing => Ok(None),
            Found::NotAFile => Err(Unreadable::NotAStateFile),
            Found::Content(bytes) => format::read(&bytes, &self.public_key).map(Some),
        }
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
    fn set_aside(&mut self, unreadable: &Unreadable) {
        let file = self.file();
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("{FILE}.aside-{time}");
        let aside = self.directory.join(&name);
        let hint = "clients of the previous process notice the restart after up to 15 s";
        match self.files.set_aside(&name) {
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

    /// Returns false if the file or its lock was removed or replaced by another process. The next
    /// [`commit`](Self::commit) writes the file and locks the directory again.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub(crate) fn are_files_in_place(&mut self) -> io::Result<bool> {
        let are_in_place = self.files.are_in_place()?;
        self.is_dirty |= !are_in_place;
        Ok(are_in_place)
    }

    /// Returns true if a [`commit`](Self::commit) is due: there are changes and the last commit is long enough ago for
    /// its size, or the last commit was [`COMMIT_INTERVAL_MAX`] ago, or the system clock was set forward. A clock that
    /// was set forward is recorded at once, because the next process has to know the latest timestamps. After failed
    /// commits, the next one is due after an interval that doubles each time.
    pub(crate) fn is_due(&self, reading: &Reading) -> bool {
        let Some((at, file_bytes)) = self.last_commit else {
            return true;
        };
        let since = reading.boottime.saturating_sub(at);
        if let Some(doublings) = self.failures.checked_sub(1) {
            let interval = COMMIT_INTERVAL.saturating_mul(1 << doublings.min(16));
            return since >= interval.min(RETRY_INTERVAL_MAX);
        }
        let interval = Duration::from_secs((file_bytes / BYTES_PER_SECOND) as u64)
            .clamp(COMMIT_INTERVAL, COMMIT_INTERVAL_MAX);
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
        let written = self.files.replace(&bytes);
        self.is_dirty = written.is_err();
        self.last_commit = Some((reading.boottime, bytes.len()));
        if written.is_ok() {
            self.moment = moment;
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
        written
    }
}

#[cfg(test)]
mod tests;

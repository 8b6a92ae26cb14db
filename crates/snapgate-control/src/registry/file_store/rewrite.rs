//! A new file with the current records, while it is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::format::{Kind, write_frame};
use super::log_file::{LogFile, new_path};
use crate::registry::entry::{Change, Key, Record};
use crate::registry::history::Revision;
use crate::registry::store::Contents;

/// Number of records that are copied in one step, about 70 kB.
const RECORDS_PER_STEP: usize = 512;

/// A new file. Records are copied to it in the order of their keys, while commits are appended to it. The later one of
/// two changes of a key counts, so the file is right wherever a commit comes in between.
pub(super) struct Rewrite {
    path: PathBuf,
    log: LogFile,
    /// Number of records in the file.
    records: usize,
    /// Key of the last record that was copied.
    copied: Option<Key>,
    is_complete: bool,
}

impl Rewrite {
    /// Creates the new file for a path.
    pub(super) fn begin(path: &Path, revision: Revision) -> io::Result<Self> {
        let path = new_path(path);
        let mut rewrite = Self {
            log: LogFile::create(&path)?,
            path,
            records: 0,
            copied: None,
            is_complete: false,
        };
        // Without records, the file still has the revision.
        match rewrite.append_contents(revision, &[]) {
            Ok(()) => Ok(rewrite),
            Err(error) => {
                rewrite.abandon();
                Err(error)
            }
        }
    }

    fn append_contents(&mut self, revision: Revision, changes: &[Change]) -> io::Result<()> {
        let mut frame = Vec::new();
        write_frame(&mut frame, Kind::Contents, revision, changes);
        self.append(&frame, changes.len())
    }

    /// Appends frames with this number of records.
    pub(super) fn append(&mut self, frames: &[u8], records: usize) -> io::Result<()> {
        self.log.append(frames)?;
        self.records += records;
        Ok(())
    }

    /// Copies some records. Returns true if all are copied.
    pub(super) fn copy(&mut self, contents: &dyn Contents, revision: Revision) -> io::Result<bool> {
        if !self.is_complete {
            let records = contents.records_after(self.copied.as_ref(), RECORDS_PER_STEP);
            // Commits append everything that comes later.
            self.is_complete = records.len() < RECORDS_PER_STEP;
            self.copied = records.last().map(Record::key);
            let changes: Vec<_> = records.into_iter().map(Change::Put).collect();
            self.append_contents(revision, &changes)?;
        }
        Ok(self.is_complete)
    }

    /// Writes the file to disk and waits.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.log.sync()
    }

    pub(super) fn log(&self) -> &LogFile {
        &self.log
    }

    /// Renames the file, which is on disk up to a length. Returns it with the number of its records.
    pub(super) fn put_in_place(mut self, path: &Path, synced: u64) -> io::Result<(LogFile, usize)> {
        match self.rename(path, synced) {
            Ok(()) => Ok((self.log, self.records)),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn rename(&mut self, path: &Path, synced: u64) -> io::Result<()> {
        self.log.note_synced(synced)?;
        if !self.log.is_at(&self.path)? {
            let text = "the new file was removed or replaced by another program";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        fs::rename(&self.path, path)
    }

    /// Removes the file.
    pub(super) fn abandon(self) {
        // It takes space on a disk that may be full.
        let _gone = fs::remove_file(&self.path);
    }
}

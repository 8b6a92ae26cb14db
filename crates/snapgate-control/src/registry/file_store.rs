//! A store in an append-only file.
//!
//! A commit is one frame at the end of the file, see `format`. When outdated records take more space than current ones,
//! a new file is written beside it, in steps between commits. Commits that arrive meanwhile go to both. When the new file
//! is complete and on disk, it is renamed. So the path always leads to a complete file. Revocations that arrive while the
//! new file is synced are synced in both, because a power failure after the rename leaves either.
//!
//! | event | effect |
//! | --- | --- |
//! | the process is killed | nothing: commits are in the page cache of the kernel |
//! | the machine loses power | registrations since the last sync may be lost (about a second); revocations are synced before they are answered |
//! | the disk is full or read-only | commits fail without a trace in the file; the next one succeeds when there is room |
//! | the end of the file is incomplete or damaged behind the part known to be on disk | it is cut off, with a warning |
//! | anything else in the file is damaged, or the file is truncated | it is not opened |
//! | the file is removed or replaced while in use | commits fail until it is written again, at the next upkeep |

mod format;
mod log_file;
mod rewrite;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::registry::entry::Change;
use crate::registry::error::{OpenError, StoreError};
use crate::registry::history::{History, Revision};
use crate::registry::store::{Contents, Durability, Store, Upkeep};

use format::{FRAME_CHANGES_MAX, Frame, Kind, write_frame};
use log_file::{LogFile, is_locked, new_path, open_directory};
use rewrite::Rewrite;

/// Number of outdated records that are always tolerated, about 0.6 MB.
const OUTDATED_MIN: usize = 4096;

/// Interval between attempts to write or sync the file in the background.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// A store in a file.
pub(super) struct FileStore {
    path: PathBuf,
    log: LogFile,
    /// Number of records in the file, outdated ones included.
    records: usize,
    history: Arc<History>,
    revision: Revision,
    /// The new file, while it is written.
    rewrite: Option<Rewrite>,
    /// What is being synced in the background.
    syncing: Option<Syncing>,
    is_directory_synced: bool,
    /// The path leads to another file or to none.
    is_lost: bool,
    /// The file is perhaps not what was written to it.
    is_suspect: bool,
    retry_at: Option<Instant>,
    /// The last commit failed.
    is_failing: bool,
}

/// What is being synced.
enum Syncing {
    /// The file, up to a length.
    Log(u64),
    /// The new file, up to a length.
    New(u64),
    /// The directory.
    Directory,
}

/// Follows the frames of a file.
struct Reader<F> {
    revision: Revision,
    records: usize,
    history: Option<History>,
    apply: F,
}

impl<F: FnMut(Change)> Reader<F> {
    /// Takes a frame. Returns false if it does not follow the previous one.
    fn take(&mut self, frame: Frame) -> bool {
        let Frame {
            kind,
            revision,
            changes,
        } = frame;
        match kind {
            Kind::Commit if revision != self.revision + changes.len() as u64 => return false,
            Kind::Commit => {
                let history = self.history.get_or_insert_with(|| History::new(0));
                history.add(changes.iter().cloned());
            }
            Kind::Contents => {
                let history = self.history.get_or_insert_with(|| History::new(revision));
                if history.revision() != revision {
                    return false;
                }
            }
        }
        self.revision = revision;
        self.records += changes.len();
        changes.into_iter().for_each(&mut self.apply);
        true
    }
}

impl FileStore {
    /// Opens a file, or creates it, and passes its changes to `apply`.
    pub(super) fn open(path: &Path, apply: impl FnMut(Change)) -> Result<Self, OpenError> {
        let mut log = LogFile::open(path)?;
        // The remains of a rewrite that was interrupted.
        let _gone = std::fs::remove_file(new_path(path));
        let mut reader = Reader {
            revision: 0,
            records: 0,
            history: None,
            apply,
        };
        let tail = log.read(path, |frame| reader.take(frame))?;
        if let Some(tail) = tail {
            tracing::warn!(
                file = %path.display(),
                offset = tail.offset,
                bytes = tail.bytes,
                hint = "normal after a power failure: the last registrations are lost",
                "incomplete end of registrations file removed"
            );
        }
        Ok(Self {
            path: path.to_owned(),
            log,
            records: reader.records,
            history: Arc::new(reader.history.unwrap_or_else(|| History::new(0))),
            revision: reader.revision,
            rewrite: None,
            syncing: None,
            is_directory_synced: true,
            is_lost: false,
            is_suspect: false,
            retry_at: None,
            is_failing: false,
        })
    }

    fn write(&mut self, changes: &[Change], durability: Durability) -> io::Result<()> {
        if self.is_lost {
            let text = "it was removed or replaced by another program, and is being written again";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let mut frames = Vec::new();
        let mut revision = self.revision;
        for part in changes.chunks(FRAME_CHANGES_MAX) {
            revision += part.len() as u64;
            write_frame(&mut frames, Kind::Commit, revision, part);
        }
        let before = self.log.len();
        self.log.append(&frames)?;
        if durability == Durability::Machine
            && let Err(error) = self.sync_now()
        {
            self.log.truncate(before);
            self.is_suspect = true;
            return Err(error);
        }
        if let Err(error) = self.append_to_new(&frames, changes.len(), durability) {
            self.postpone(&error);
        }
        self.revision = revision;
        self.records += changes.len();
        self.history.add(changes.iter().cloned());
        Ok(())
    }

    /// Appends frames with this number of records to the new file, if there is one.
    fn append_to_new(
        &mut self,
        frames: &[u8],
        records: usize,
        durability: Durability,
    ) -> io::Result<()> {
        let Some(rewrite) = &mut self.rewrite else {
            return Ok(());
        };
        rewrite.append(frames, records)?;
        // A sync that has begun may not cover the frames, and the file can be renamed when it ends.
        let is_being_synced = matches!(self.syncing, Some(Syncing::New(_)));
        if durability == Durability::Machine && is_being_synced {
            rewrite.sync()?;
        }
        Ok(())
    }

    fn sync_now(&mut self) -> io::Result<()> {
        self.log.sync()?;
        if !self.is_directory_synced {
            open_directory(&self.path)?.sync_all()?;
            self.is_directory_synced = true;
        }
        Ok(())
    }

    /// Logs when commits begin to fail and when they succeed again.
    fn note(&mut self, written: &io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        match written {
            Err(error) if !was_failing => tracing::warn!(
                file = %self.path.display(),
                %error,
                hint = "existing registrations stay in force, new ones are refused",
                "cannot write registrations file"
            ),
            Ok(()) if was_failing => {
                tracing::info!(file = %self.path.display(), "registrations file writable again");
            }
            _ => {}
        }
    }

    /// Gives up work in the background for a while.
    fn postpone(&mut self, error: &io::Error) {
        if let Some(rewrite) = self.rewrite.take() {
            rewrite.abandon();
        }
        self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
        tracing::warn!(
            file = %self.path.display(),
            %error,
            retry_in = ?RETRY_INTERVAL,
            "cannot write registrations file to disk in the background"
        );
    }

    /// Does what is due in the background. Does not sync the file if `is_log_synced`: commits go on, so there can always
    /// be something to sync.
    fn step(&mut self, contents: &dyn Contents, is_log_synced: bool) -> io::Result<Upkeep> {
        if !self.is_lost && !self.log.is_at(&self.path)? {
            self.is_lost = true;
            tracing::warn!(
                file = %self.path.display(),
                hint = "only snapgate may change its registrations file",
                "registrations file removed or replaced, writing it again"
            );
        }
        if let Some(rewrite) = &mut self.rewrite {
            if !rewrite.copy(contents, self.revision)? {
                return Ok(Upkeep::Again);
            }
            self.syncing = Some(Syncing::New(rewrite.log().len()));
            return Ok(Upkeep::Sync(rewrite.log().file()));
        }
        let is_outdated = self.records >= 2 * contents.len() + OUTDATED_MIN;
        if is_outdated || self.is_lost || self.is_suspect {
            self.check_path()?;
            self.rewrite = Some(Rewrite::begin(&self.path, self.revision)?);
            return Ok(Upkeep::Again);
        }
        // Before the directory, whose sync makes a renamed file the one that is found after a power failure.
        if !self.log.is_synced() && !is_log_synced {
            self.syncing = Some(Syncing::Log(self.log.len()));
            return Ok(Upkeep::Sync(self.log.file()));
        }
        if !self.is_directory_synced {
            let directory = Arc::new(open_directory(&self.path)?);
            self.syncing = Some(Syncing::Directory);
            return Ok(Upkeep::Sync(directory));
        }
        Ok(Upkeep::Done)
    }

    fn end_sync(&mut self, syncing: &Syncing, synced: &io::Result<()>) -> io::Result<()> {
        if let Err(error) = synced {
            // After a failed sync, the kernel may report the next one as successful without having written anything.
            self.is_suspect = true;
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        match syncing {
            Syncing::Log(len) => self.log.note_synced(*len),
            Syncing::Directory => {
                self.is_directory_synced = true;
                Ok(())
            }
            Syncing::New(len) => match self.rewrite.take() {
                Some(rewrite) => self.finish(rewrite, *len),
                // It was abandoned meanwhile.
                None => Ok(()),
            },
        }
    }

    /// Puts the new file in place.
    fn finish(&mut self, rewrite: Rewrite, synced: u64) -> io::Result<()> {
        if let Err(error) = self.check_path() {
            rewrite.abandon();
            return Err(error);
        }
        let (log, records) = rewrite.put_in_place(&self.path, synced)?;
        self.log = log;
        self.records = records;
        self.is_directory_synced = false;
        self.is_lost = false;
        self.is_suspect = false;
        Ok(())
    }

    /// Fails if the path leads to a file that another process uses.
    fn check_path(&self) -> io::Result<()> {
        if self.log.is_at(&self.path)? || !is_locked(&self.path)? {
            return Ok(());
        }
        let text = "another process uses a file that was put in its place";
        Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
    }
}

impl Store for FileStore {
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let written = self.write(changes, durability);
        self.note(&written);
        written.map_err(|error| StoreError::io(&self.path, error))
    }

    fn history(&self) -> &Arc<History> {
        &self.history
    }

    fn upkeep(&mut self, contents: &dyn Contents, synced: Option<&io::Result<()>>) -> Upkeep {
        let mut is_log_synced = false;
        let ended = match (self.syncing.take(), synced) {
            (Some(syncing), Some(synced)) => {
                is_log_synced = matches!(syncing, Syncing::Log(_) | Syncing::Directory);
                self.end_sync(&syncing, synced)
            }
            (Some(syncing), None) => {
                // Another thread waits for the disk.
                self.syncing = Some(syncing);
                return Upkeep::Done;
            }
            (None, _) => Ok(()),
        };
        let is_early = self.retry_at.is_some_and(|at| Instant::now() < at);
        let next = match ended {
            Ok(()) if is_early => Ok(Upkeep::Done),
            Ok(()) => self.step(contents, is_log_synced),
            Err(error) => Err(error),
        };
        next.unwrap_or_else(|error| {
            self.postpone(&error);
            Upkeep::Done
        })
    }
}

#[cfg(test)]
mod tests;

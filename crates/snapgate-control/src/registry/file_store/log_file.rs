//! A locked file that frames are appended to.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::format::{
    self, BadHeader, FRAME_HEAD_BYTES, Frame, HEADER_BYTES, VERSION, frame_length, read_frame,
    write_header,
};
use crate::registry::error::OpenError;

/// Number of attempts to open a file that others replace.
const OPEN_ATTEMPTS: usize = 10;

/// An open file with the lock of its process. The lock belongs to the file and not to its path, so a file is locked
/// before it replaces another one.
pub(super) struct LogFile {
    file: Arc<File>,
    /// Length of the header and the frames. What follows are remains of failed writes.
    len: u64,
    /// Length that is known to be on disk, as in the header.
    synced: u64,
}

/// A part of a file that cannot be read, but was not known to be on disk.
pub(super) struct Tail {
    /// Its position.
    pub(super) offset: u64,
    /// Its length.
    pub(super) bytes: u64,
}

impl LogFile {
    /// Opens and locks a file. Creates it if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io {
            file: path.to_owned(),
            source,
        };
        for _ in 0..OPEN_ATTEMPTS {
            let log = match fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => {
                    Self::lock(open_existing(path).map_err(io_error)?)
                }
                Ok(_) => return Err(OpenError::NotAFile(path.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match Self::create_at(path).map_err(io_error)? {
                        Some(log) => Ok(log),
                        None => continue,
                    }
                }
                Err(error) => return Err(io_error(error)),
            };
            let log = log.map_err(|refused| match refused {
                TryLockError::WouldBlock => OpenError::InUse(path.to_owned()),
                TryLockError::Error(error) => io_error(error),
            })?;
            // It may have been replaced before it was locked.
            if log.is_at(path).map_err(io_error)? {
                return Ok(log);
            }
        }
        Err(OpenError::InUse(path.to_owned()))
    }

    fn lock(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self {
            file: Arc::new(file),
            len: 0,
            synced: 0,
        })
    }

    /// Creates and locks a file without frames that only its owner can read, in place of any file of that name.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut log = Self::lock(file).map_err(io::Error::from)?;
        log.append(&write_header(0))?;
        Ok(log)
    }

    /// Creates a file at a path where there is none, or returns `None` if another process was faster. A path never leads
    /// to a file without a header, so that a file that others truncated is recognized.
    fn create_at(path: &Path) -> io::Result<Option<Self>> {
        let new_path = new_path(path);
        let log = Self::create(&new_path)?;
        log.file.sync_all()?;
        // Unlike a rename, this does not replace a file of another process, which may also have replaced the new file.
        let linked = fs::hard_link(&new_path, path);
        let _gone = fs::remove_file(&new_path);
        match linked {
            Ok(()) => {
                open_directory(path)?.sync_all()?;
                Ok(Some(log))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Reads the file. Passes each frame to `take`, which returns false if the frame does not follow the previous one.
    pub(super) fn read(
        &mut self,
        path: &Path,
        mut take: impl FnMut(Frame) -> bool,
    ) -> Result<Option<Tail>, OpenError> {
        let io_error = |source| OpenError::Io {
            file: path.to_owned(),
            source,
        };
        let found = self.file.metadata().map_err(io_error)?.len();
        let mut reader = BufReader::with_capacity(1 << 16, &*self.file);
        let mut start = Vec::new();
        let header = reader
            .by_ref()
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut start);
        header.map_err(io_error)?;
        self.synced = read_start(&start, path)?;
        self.restrict().map_err(|source| OpenError::Exposed {
            file: path.to_owned(),
            source,
        })?;
        if found < self.synced {
            return Err(OpenError::Truncated {
                file: path.to_owned(),
                found,
                expected: self.synced,
            });
        }

        self.len = HEADER_BYTES as u64;
        let mut intact = 0;
        let mut body = Vec::new();
        while self.len < found {
            let frame = next_frame(&mut reader, found - self.len, &mut body).map_err(io_error)?;
            let bytes = (FRAME_HEAD_BYTES + body.len()) as u64;
            let records = frame.as_ref().map_or(0, |frame| frame.changes.len());
            if !frame.is_some_and(&mut take) {
                break;
            }
            intact += records;
            self.len += bytes;
        }
        if self.len < self.synced {
            return Err(OpenError::Damaged {
                file: path.to_owned(),
                offset: self.len,
                intact,
            });
        }
        let tail = Tail {
            offset: self.len,
            bytes: found - self.len,
        };
        if tail.bytes == 0 {
            return Ok(None);
        }
        self.file.set_len(self.len).map_err(io_error)?;
        Ok(Some(tail))
    }

    /// Takes the permissions of other users away, who could read who is registered, or lock the file.
    fn restrict(&self) -> io::Result<()> {
        if self.file.metadata()?.mode() & 0o077 == 0 {
            return Ok(());
        }
        self.file.set_permissions(Permissions::from_mode(0o600))
    }

    /// Appends bytes, all or none.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, self.len);
        if written.is_ok() {
            self.len += bytes.len() as u64;
        } else {
            self.truncate(self.len);
        }
        written
    }

    /// Removes everything after a position.
    pub(super) fn truncate(&mut self, len: u64) {
        self.len = len;
        // What remains if this fails is overwritten, or cut off when the file is read.
        let _remains = self.file.set_len(len);
    }

    /// Records in the header that the file is on disk up to a length.
    pub(super) fn note_synced(&mut self, len: u64) -> io::Result<()> {
        let synced = len.min(self.len);
        if synced > self.synced {
            self.file.write_all_at(&write_header(synced), 0)?;
            self.synced = synced;
        }
        Ok(())
    }

    /// Writes the file to disk and waits.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // The frames are on disk, with or without the note.
        let _noted = self.note_synced(self.len);
        Ok(())
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced == self.len
    }

    /// Returns true if the path leads to this file, whose inode is in use and therefore unique.
    pub(super) fn is_at(&self, path: &Path) -> io::Result<bool> {
        let ids = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match fs::metadata(path) {
            Ok(found) => Ok(ids(found) == ids(self.file.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for LogFile {
    /// Releases the lock explicitly. Closing the file would release it only when the last copy of the descriptor is
    /// closed (flock(2)), and a forked process has a copy until it executes a program.
    fn drop(&mut self) {
        let _released = self.file.unlock();
    }
}

/// Parses the header and returns the synced length.
fn read_start(start: &[u8], path: &Path) -> Result<u64, OpenError> {
    let foreign = || OpenError::Foreign(path.to_owned());
    let Ok(header) = <&[u8; HEADER_BYTES]>::try_from(start) else {
        // Shorter than a header.
        if !write_header(0).starts_with(&start[..start.len().min(12)]) {
            return Err(foreign());
        }
        return Err(OpenError::Truncated {
            file: path.to_owned(),
            found: start.len() as u64,
            expected: HEADER_BYTES as u64,
        });
    };
    format::read_header(header).map_err(|bad| match bad {
        BadHeader::Foreign => foreign(),
        BadHeader::Version(found) => OpenError::Version {
            file: path.to_owned(),
            found,
            expected: VERSION,
        },
        BadHeader::Damaged => OpenError::Damaged {
            file: path.to_owned(),
            offset: 0,
            intact: 0,
        },
    })
}

/// Reads the next frame. Without an intact one in the `rest` bytes of the file, returns `None`.
fn next_frame(
    reader: &mut impl io::Read,
    rest: u64,
    body: &mut Vec<u8>,
) -> io::Result<Option<Frame>> {
    body.clear();
    if rest < FRAME_HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; FRAME_HEAD_BYTES];
    reader.read_exact(&mut head)?;
    let length = frame_length(head).filter(|length| (FRAME_HEAD_BYTES + length) as u64 <= rest);
    let Some(length) = length else {
        return Ok(None);
    };
    body.resize(length, 0);
    reader.read_exact(body)?;
    Ok(read_frame(head, body))
}

/// Returns the path of a file while it is written.
pub(super) fn new_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Opens the directory that has the name of a file, to be synced.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))
}

/// Returns true if another process has locked the file at a path.
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let file = open_existing(path)?;
    match file.try_lock() {
        Ok(()) => {
            // Closing it could be too late, see `LogFile::drop`.
            file.unlock()?;
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        // A pipe may be at the path by now.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

//! Detection of changes of a file without reading it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::config::text_file::{self, FileFault};

/// Time without changes after which a file counts as completely written.
pub(super) const SETTLE_TIME: Duration = Duration::from_millis(100);

/// Time after which a file is read once more if its times have whole seconds: its file system may count in seconds, or
/// in twos (FAT), and not show that the file was written again within one.
const READ_AGAIN_TIME: Duration = Duration::from_secs(3);

/// Number of consecutive replacements after which a file counts as being replaced constantly, each time as a whole.
const REPLACEMENTS: u32 = 3;

/// Metadata of a file, or the reason why it cannot be opened. Another version has other content or other permissions.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileVersion(Result<Stamp, FileFault>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    /// Distinguishes files that had the same inode one after the other; unknown to some file
    /// systems. Since 1970.
    created: Option<Duration>,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds of the inode's change, also by a rename or new permissions.
    changed: (i64, i64),
}

impl FileVersion {
    /// Returns the version of a file. Follows symbolic links and waits for no other process.
    ///
    /// The file is opened, and the file system is asked for current metadata: a network file system may otherwise
    /// return metadata that is seconds old.
    pub(crate) fn of(path: &Path) -> Self {
        let stamp = text_file::open_regular(path)
            .and_then(|file| Stamp::of(&file).map_err(|error| FileFault::from_reading(&error)));
        Self(stamp)
    }

    /// Returns true if the file can change without another version, by another write in the same second.
    fn has_coarse_times(&self) -> bool {
        self.0
            .as_ref()
            .is_ok_and(|stamp| (stamp.modified.1, stamp.changed.1) == (0, 0))
    }

    /// Returns true if the name belongs to another file, rather than to the same file with other content.
    fn is_another_file_than(&self, other: &Self) -> bool {
        let file = |stamp: &Stamp| (stamp.device, stamp.inode, stamp.created);
        match (&self.0, &other.0) {
            (Ok(this), Ok(other)) => file(this) != file(other),
            _ => false,
        }
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        // Updates what `metadata` returns, on kernels that have statx(2).
        let _synchronized = statx(file, "", flags, StatxFlags::BASIC_STATS);
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            created: metadata
                .created()
                .ok()
                .and_then(|created| created.duration_since(UNIX_EPOCH).ok()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Decides when to read a polled file.
pub(super) struct Looks {
    /// `None` if reading it failed.
    read: Option<FileVersion>,
    last: FileVersion,
    /// When `last` was first seen.
    since: Instant,
    /// Number of consecutive looks that found a new file.
    replacements: u32,
    /// When to read the same version once more.
    read_again_at: Option<Instant>,
}

impl Looks {
    /// `read` is the version that has been read already.
    pub(super) fn new(read: FileVersion, now: Instant) -> Self {
        Self {
            last: read.clone(),
            read: Some(read),
            since: now,
            replacements: 0,
            read_again_at: None,
        }
    }

    /// Records the version `seen`. Returns true if the file is due for reading: it is another version than the last one
    /// read, or a reload was `asked` for. A file that changed recently has to wait, because a process may be writing
    /// it. A file that is replaced constantly is read at once, because each new file is complete when it gets the name.
    pub(super) fn is_due(&mut self, seen: &FileVersion, now: Instant, asked: bool) -> bool {
        if *seen != self.last {
            self.replacements = if seen.is_another_file_than(&self.last) {
                self.replacements + 1
            } else {
                0
            };
            self.last = seen.clone();
            self.since = now;
        }
        let settled = now.saturating_duration_since(self.since) >= SETTLE_TIME;
        if settled {
            self.replacements = 0;
        }
        let is_new = asked || !self.is_read(seen);
        let is_again = self.read_again_at.is_some_and(|at| now >= at);
        let due = (settled || self.is_replaced_all_the_time()) && (is_new || is_again);
        if due {
            self.read = Some(seen.clone());
            let may_change = is_new && seen.has_coarse_times();
            self.read_again_at = may_change.then(|| now + READ_AGAIN_TIME);
        }
        due
    }

    /// Returns true if `seen` is the version that was read last.
    pub(super) fn is_read(&self, seen: &FileVersion) -> bool {
        self.read.as_ref() == Some(seen)
    }

    /// Makes the file due again, because it was not read.
    pub(super) fn was_not_read(&mut self) {
        self.read = None;
    }

    /// Returns true if the content that was read is complete, although the version is now `after`.
    pub(super) fn is_good(&self, after: &FileVersion) -> bool {
        let is_another = |read| after.is_another_file_than(read);
        self.is_read(after)
            || (self.is_replaced_all_the_time() && self.read.as_ref().is_some_and(is_another))
    }

    fn is_replaced_all_the_time(&self) -> bool {
        self.replacements >= REPLACEMENTS
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_to_replace_a_file_changes_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let file = path("file");
        let mut versions = vec![FileVersion::of(&file)];
        let mut note = || versions.push(FileVersion::of(&file));

        fs::write(&file, "a").unwrap();
        note();
        fs::write(&file, "ab").unwrap();
        note();
        // An editor: a new file takes the name, and has the same size.
        fs::write(path("new"), "cd").unwrap();
        fs::rename(path("new"), &file).unwrap();
        note();
        // Kubernetes: the file is a link through a directory that is a link, which is swapped.
        for (directory, content) in [("v1", "ef"), ("v2", "gh")] {
            fs::create_dir(path(directory)).unwrap();
            fs::write(path(directory).join("file"), content).unwrap();
        }
        symlink("v1", path("data")).unwrap();
        fs::remove_file(&file).unwrap();
        symlink("data/file", &file).unwrap();
        note();
        symlink("v2", path("data_tmp")).unwrap();
        fs::rename(path("data_tmp"), path("data")).unwrap();
        note();

        for (index, version) in versions.iter().enumerate() {
            assert!(
                !versions[..index].contains(version),
                "{index}: {versions:?}"
            );
        }
        assert_eq!(FileVersion::of(&file), FileVersion::of(&file));
    }

    fn version(inode: u64, bytes: u64) -> FileVersion {
        FileVersion(Ok(Stamp {
            device: 1,
            inode,
            created: None,
            bytes,
            modified: (0, 0),
            changed: (0, 0),
        }))
    }

    const MISSING: FileVersion = FileVersion(Err(FileFault::NotFound));

    /// Looks at the file at intervals of [`SETTLE_TIME`].
    fn look_at_each(looks: &mut Looks, start: Instant, seen: &[(FileVersion, bool)]) {
        for ((seen, due), look) in seen.iter().zip(1..) {
            let now = start + look * SETTLE_TIME;
            assert_eq!(looks.is_due(seen, now, false), *due, "{look}: {seen:?}");
        }
    }

    #[test]
    fn a_file_is_read_once_for_each_version_that_settles() {
        let start = Instant::now();
        let mut looks = Looks::new(version(1, 0), start);
        let seen = [
            (version(1, 0), false),
            // Being written: a new version at each look.
            (version(2, 0), false),
            (version(2, 1), false),
            (version(2, 2), false),
            (version(2, 3), false),
            (version(2, 3), true),
            (version(2, 3), false),
            // Missing for a moment, as when it is removed and written again.
            (MISSING, false),
            (version(4, 0), false),
            (version(4, 0), true),
            // Missing for longer.
            (MISSING, false),
            (MISSING, true),
            (MISSING, false),
        ];
        look_at_each(&mut looks, start, &seen);
    }

    #[test]
    fn a_file_with_coarse_times_is_read_again_once() {
        let start = Instant::now();
        let precise = |inode| {
            let stamp = version(inode, 0).0.unwrap();
            let changed = (0, 1);
            FileVersion(Ok(Stamp { changed, ..stamp }))
        };
        for (file, is_read_again) in [(version(2, 0), true), (precise(2), false)] {
            let mut looks = Looks::new(version(1, 0), start);
            assert!(!looks.is_due(&file, start, false));
            let mut read = start + SETTLE_TIME;
            assert!(looks.is_due(&file, read, false));
            assert!(!looks.is_due(&file, read + SETTLE_TIME, false));
            read += READ_AGAIN_TIME;
            assert_eq!(looks.is_due(&file, read, false), is_read_again);
            assert!(!looks.is_due(&file, read + 2 * READ_AGAIN_TIME, false));
        }
    }

    #[test]
    fn a_constantly_replaced_file_is_read() {
        let start = Instant::now();
        let mut looks = Looks::new(version(1, 0), start);
        let seen = [
            (version(2, 0), false),
            (version(3, 0), false),
            (version(4, 0), true),
            (version(5, 0), true),
        ];
        look_at_each(&mut looks, start, &seen);
        assert!(looks.is_good(&version(5, 0)));
        assert!(looks.is_good(&version(6, 0)));
        // The file is written to after all.
        assert!(!looks.is_good(&version(5, 1)));
        assert!(!looks.is_good(&MISSING));
    }

    #[test]
    fn a_file_that_changed_while_it_was_read_is_not_good() {
        let start = Instant::now();
        let mut looks = Looks::new(version(1, 0), start);
        look_at_each(
            &mut looks,
            start,
            &[(version(2, 0), false), (version(2, 0), true)],
        );
        assert!(looks.is_good(&version(2, 0)));
        assert!(!looks.is_good(&version(2, 1)));
        assert!(!looks.is_good(&version(3, 0)));
    }

    #[test]
    fn a_requested_reload_waits_until_the_file_has_settled() {
        let start = Instant::now();
        let mut looks = Looks::new(version(1, 0), start);
        let settled = start + SETTLE_TIME;
        assert!(looks.is_due(&version(1, 0), settled, true));
        assert!(!looks.is_due(&version(2, 0), settled, true));
        // Regardless of further requests.
        let early = settled + SETTLE_TIME - Duration::from_nanos(1);
        assert!(!looks.is_due(&version(2, 0), early, true));
        assert!(looks.is_due(&version(2, 0), settled + SETTLE_TIME, true));
    }
}

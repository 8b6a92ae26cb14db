//! Telling whether a file is still the one that was read, without reading it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What the file system says about a file, or about why it is not there. Another version has other
/// content, or other permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileVersion(Result<Stamp, io::ErrorKind>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of the inode: a rename or other permissions change it, too.
    changed: (i64, i64),
}

impl FileVersion {
    /// Follows symbolic links. One system call.
    pub(crate) fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path);
        let stamp = metadata.map(|metadata| Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        });
        Self(stamp.map_err(|error| error.kind()))
    }
}

/// Decides when a file that is looked at again and again is to be read.
pub(super) struct Looks {
    read: FileVersion,
    last: FileVersion,
}

impl Looks {
    /// `read` is what has been read already.
    pub(super) fn new(read: FileVersion) -> Self {
        Self { read, last: read }
    }

    /// Takes in what was seen; true when the file is to be read: it is not what was read last, or reading it
    /// was `asked` for. A file that somebody may be writing, because it is another than at the look before,
    /// has to wait.
    pub(super) fn is_due(&mut self, seen: FileVersion, asked: bool) -> bool {
        let settled = seen == self.last;
        self.last = seen;
        let due = settled && (asked || seen != self.read);
        if due {
            self.read = seen;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn whatever_replaces_a_file_makes_another_version() {
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

    fn version(inode: u64) -> FileVersion {
        FileVersion(Ok(Stamp {
            device: 1,
            inode,
            bytes: 0,
            modified: (0, 0),
            changed: (0, 0),
        }))
    }

    #[test]
    fn a_file_is_read_once_for_each_version_that_settles() {
        let missing = FileVersion(Err(io::ErrorKind::NotFound));
        let mut looks = Looks::new(version(1));
        for (seen, due) in [
            (version(1), false),
            // Being written: a new version at each look.
            (version(2), false),
            (version(3), false),
            (version(3), true),
            (version(3), false),
            // Away for a moment, as when it is removed and written anew.
            (missing, false),
            (version(4), false),
            (version(4), true),
            // Away for longer.
            (missing, false),
            (missing, true),
            (missing, false),
        ] {
            assert_eq!(looks.is_due(seen, false), due, "{seen:?}");
        }
    }

    #[test]
    fn who_asks_gets_the_file_read_as_soon_as_it_has_settled() {
        let mut looks = Looks::new(version(1));
        assert!(looks.is_due(version(1), true));
        assert!(!looks.is_due(version(2), true));
        assert!(looks.is_due(version(2), true));
    }
}

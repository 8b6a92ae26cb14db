//! Mount namespaces.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::namespace::{on_thread, skip};

/// A mount namespace: file systems mounted in it are visible only in [`Self::run`] and to processes started there, and
/// disappear with it. Needs root (CAP_SYS_ADMIN), see [`may_mount`].
#[derive(Clone, Debug)]
pub struct Mounts {
    file: Arc<File>,
}

/// Returns true if this process may mount file systems, FUSE included. Otherwise prints to standard error that `test`
/// is skipped, and why.
///
/// # Panics
///
/// If it may not create a mount namespace and [`crate::REQUIRE_ROOT`] is set.
#[must_use]
pub fn may_mount(test: &str) -> bool {
    let namespace = on_thread(|| unshare(CloneFlags::CLONE_NEWNS));
    if let Err(error) = namespace {
        skip(
            test,
            &format!("cannot create a mount namespace ({error}): run as root (CAP_SYS_ADMIN)"),
        );
        return false;
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        // Root cannot give a kernel what it does not have.
        eprintln!("skipped {test}: cannot open /dev/fuse: {error}");
        return false;
    }
    true
}

impl Mounts {
    /// Creates a namespace with the mounts of the calling thread.
    ///
    /// # Panics
    ///
    /// If a requirement is not met, see [`may_mount`].
    #[must_use]
    pub fn new() -> Self {
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("creating a mount namespace needs root");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
            File::open("/proc/thread-self/ns/mnt").expect("file of the namespace")
        });
        Self {
            file: Arc::new(file),
        }
    }

    /// Calls `body` on a thread inside the namespace. A panic in `body` continues in the caller.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        on_thread(|| {
            // A thread that shares its working directory with others cannot change its mounts (setns(2)).
            unshare(CloneFlags::CLONE_FS).expect("a thread of its own");
            setns(&*self.file, CloneFlags::CLONE_NEWNS).expect("cannot enter the namespace");
            body()
        })
    }

    /// Creates the directory `path` and mounts a file system of `bytes` in memory on it.
    pub fn mount_tmpfs(&self, path: &Path, bytes: u64) {
        fs::create_dir_all(path).expect("a directory");
        let size = format!("size={bytes}");
        self.run(|| {
            mount(
                Some("tmpfs"),
                path,
                Some("tmpfs"),
                MsFlags::empty(),
                Some(&*size),
            )
            .expect("tmpfs");
        });
    }
}

impl Default for Mounts {
    fn default() -> Self {
        Self::new()
    }
}

//! A file system that hangs, fails or caches on request.
//!
//! A flat directory of files in memory, served over `/dev/fuse` (linux/fuse.h, version 7.31), as a network file system
//! without its network.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::files::{Files, Reply};
use crate::{Mounts, wait_until};

mod files;

/// Request of the kernel (`enum fuse_opcode`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
#[expect(missing_docs, reason = "named in linux/fuse.h")]
pub enum Operation {
    Lookup = 1,
    Forget = 2,
    GetAttr = 3,
    SetAttr = 4,
    Unlink = 10,
    Rename = 12,
    Open = 14,
    Read = 15,
    Write = 16,
    Release = 18,
    Fsync = 20,
    Flush = 25,
    Init = 26,
    OpenDir = 27,
    ReleaseDir = 29,
    FsyncDir = 30,
    Create = 35,
    Interrupt = 36,
    Destroy = 38,
    BatchForget = 42,
}

impl Operation {
    const ALL: [Self; 20] = [
        Self::Lookup,
        Self::Forget,
        Self::GetAttr,
        Self::SetAttr,
        Self::Unlink,
        Self::Rename,
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Release,
        Self::Fsync,
        Self::Flush,
        Self::Init,
        Self::OpenDir,
        Self::ReleaseDir,
        Self::FsyncDir,
        Self::Create,
        Self::Interrupt,
        Self::Destroy,
        Self::BatchForget,
    ];

    fn of(code: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| *operation as u32 == code)
    }
}

/// Room for the largest request: a write of 128 KiB and its headers.
const REQUEST_BYTES: usize = (128 << 10) + 4096;

/// Length of `struct fuse_in_header`.
const HEADER_BYTES: usize = 40;

/// A mounted file system. Drop aborts all requests, so that processes that wait for them continue.
#[derive(Debug)]
pub struct Fuse {
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    device: File,
    is_stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: Files,
    /// Operations that are not answered until [`Fuse::release`].
    held: BTreeSet<Operation>,
    waiting: Vec<Request>,
    /// Operations that fail with an errno.
    failing: Vec<(Operation, i32)>,
}

#[derive(Debug)]
struct Request {
    operation: Option<Operation>,
    unique: u64,
    node: u64,
    body: Vec<u8>,
}

impl Fuse {
    /// Creates the directory `path` and mounts the file system on it. The kernel caches names and attributes for
    /// `cached_for`, in seconds.
    ///
    /// # Panics
    ///
    /// If a requirement is not met, see [`crate::may_mount`].
    #[must_use]
    pub fn mount(mounts: &Mounts, path: &Path, cached_for: u64) -> Self {
        fs::create_dir_all(path).expect("a directory");
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("/dev/fuse");
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mounts.run(|| {
            mount(
                Some("snapgate-test"),
                path,
                Some("fuse"),
                flags,
                Some(&*options),
            )
            .expect("mounting a FUSE file system");
        });
        let state = State {
            files: Files::new(cached_for),
            ..State::default()
        };
        let shared = Arc::new(Shared {
            device,
            is_stopped: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let server = Arc::clone(&shared);
        Self {
            shared,
            server: Some(thread::spawn(move || server.serve())),
        }
    }

    /// Does not answer these operations until [`Self::release`]. Threads that wait for the answer cannot be killed.
    pub fn hold(&self, operations: &[Operation]) {
        self.shared.state().held.extend(operations);
    }

    /// Waits until an operation is held.
    pub fn wait_until_held(&self) {
        wait_until("the file system hangs", || {
            (!self.shared.state().waiting.is_empty()).then_some(())
        });
    }

    /// Answers all operations.
    pub fn release(&self) {
        let mut state = self.shared.state();
        state.held.clear();
        for request in std::mem::take(&mut state.waiting) {
            self.shared.answer(&mut state, &request);
        }
    }

    /// Lets these operations fail with an errno, instead of those of the last call.
    pub fn fail(&self, operations: &[Operation], errno: i32) {
        let failing = operations.iter().map(|operation| (*operation, errno));
        self.shared.state().failing = failing.collect();
    }

    /// Writes a file, as another client of the same network file system: the kernel is not notified. The file keeps its
    /// inode.
    pub fn write(&self, name: &str, content: &str) {
        self.shared.state().files.write(name, content.as_bytes());
    }

    /// Replaces a file by one with another inode, like [`Self::write`]. Opening the previous inode fails with ESTALE.
    pub fn replace(&self, name: &str, content: &str) {
        let mut state = self.shared.state();
        state.files.remove(name);
        state.files.write(name, content.as_bytes());
    }

    /// Returns the content of a file.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.state().files.content(name)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            // It has printed its panic. The device is closed with the last reference, which ends the connection.
            let _ = server.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests until the file system is stopped or unmounted.
    fn serve(&self) {
        let mut buffer = vec![0; REQUEST_BYTES];
        while !self.is_stopped.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(
                std::os::fd::AsFd::as_fd(&self.device),
                PollFlags::POLLIN,
            )];
            let timeout = PollTimeout::try_from(Duration::from_millis(20)).expect("a timeout");
            if poll(&mut ready, timeout) != Ok(1) {
                continue;
            }
            // ENODEV: unmounted.
            let Ok(length) = (&self.device).read(&mut buffer) else {
                return;
            };
            let request = Request::parse(&buffer[..length]);
            let mut state = self.state();
            let is_held = |operation| state.held.contains(&operation);
            if request.operation.is_some_and(is_held) {
                state.waiting.push(request);
            } else {
                self.answer(&mut state, &request);
            }
        }
    }

    fn answer(&self, state: &mut State, request: &Request) {
        let mut failing = state.failing.iter();
        let failure = failing.find(|(operation, _)| Some(*operation) == request.operation);
        let reply = match failure {
            Some((_, errno)) => Reply::Error(*errno),
            None => state
                .files
                .answer(request.operation, request.node, &request.body),
        };
        let (errno, body) = match reply {
            Reply::None => return,
            Reply::Error(errno) => (-errno, Vec::new()),
            Reply::Body(body) => (0, body),
        };
        let length = u32::try_from(16 + body.len()).expect("a short reply");
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(errno.to_ne_bytes());
        message.extend(request.unique.to_ne_bytes());
        message.extend(body);
        // ENOENT: the request was interrupted.
        let _ = (&self.device).write(&message);
    }
}

impl Request {
    fn parse(message: &[u8]) -> Self {
        let (header, body) = message.split_at(HEADER_BYTES);
        Self {
            operation: Operation::of(files::number32(header, 4)),
            unique: files::number64(header, 8),
            node: files::number64(header, 16),
            body: body.to_vec(),
        }
    }
}

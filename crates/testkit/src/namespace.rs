//! Network namespaces of the test's own.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::panic;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

/// Environment variable: when set, a test that would be skipped fails.
pub const REQUIRE_ROOT: &str = "SNAPGATE_REQUIRE_ROOT";

/// Whether this process may make network namespaces. When it may not, says on standard error that
/// `test` is skipped.
///
/// # Panics
///
/// When it may not and [`REQUIRE_ROOT`] is set.
#[must_use]
pub fn may_make_namespaces(test: &str) -> bool {
    match on_thread(|| unshare(CloneFlags::CLONE_NEWNET)) {
        Ok(()) => true,
        Err(error) => {
            skip(test, &format!("network namespaces need root ({error})"));
            false
        }
    }
}

/// Says on standard error, past the capture of the test harness, that `test` is skipped.
///
/// # Panics
///
/// When [`REQUIRE_ROOT`] is set.
pub fn skip(test: &str, reason: &str) {
    assert!(
        env::var_os(REQUIRE_ROOT).is_none(),
        "{test} must not be skipped ({REQUIRE_ROOT} is set): {reason}"
    );
    let _ = writeln!(std::io::stderr(), "skipped {test}: {reason}");
}

/// A network namespace with a loopback interface that is up.
///
/// It has no name and is kept by an open file, so the kernel removes it, and its links with it,
/// when the last clone, socket and process in it is gone: also after a panic or SIGKILL.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace. IPv6 addresses are usable at once (no duplicate address detection).
    ///
    /// # Panics
    ///
    /// Without the rights for it, see [`may_make_namespaces`].
    #[must_use]
    pub fn new() -> Self {
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("the right to make a network namespace");
            for which in ["all", "default"] {
                let setting = format!("/proc/sys/net/ipv6/conf/{which}/accept_dad");
                // Absent without IPv6.
                let _ = fs::write(setting, "0");
            }
            shell("ip link set lo up");
            File::open("/proc/thread-self/ns/net").expect("the namespace's file")
        });
        Self {
            file: Arc::new(file),
        }
    }

    /// Calls `body` on a thread inside the namespace. Sockets opened and processes started there
    /// stay in the namespace. A panic in `body` goes on in the caller.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        on_thread(|| {
            self.enter();
            body()
        })
    }

    /// Starts a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.enter();
            body()
        })
    }

    /// Runs a shell script inside the namespace and returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails, with what it printed.
    pub fn shell(&self, script: &str) -> String {
        self.run(|| shell(script))
    }

    /// Sets a value below `/proc/sys/net`, such as `ipv6/auto_flowlabels`.
    ///
    /// # Panics
    ///
    /// When there is no such setting.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.run(|| {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .unwrap_or_else(|error| panic!("net/{name}: {error}"));
        });
    }

    /// A path that names the namespace to commands started by this process.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread, which must not go on to other work, into the namespace.
    fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls `body` on a thread of its own, whose namespace may change.
fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(body)
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Runs a shell script in the calling thread's namespace and returns what it printed.
///
/// # Panics
///
/// When it fails, with what it printed.
pub fn shell(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .output()
        .expect("a shell");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}{printed}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

//! Network namespaces.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::panic;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

/// Environment variable: if set, a test that would be skipped fails.
pub const REQUIRE_ROOT: &str = "SNAPGATE_REQUIRE_ROOT";

/// Mapping of `/proc/self/uid_map` in the initial user namespace (user_namespaces(7)).
const INITIAL_UID_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// Returns the unmet requirements of [`Namespace`] and [`crate::Veth`] on this machine, each with its purpose and
/// remedy.
#[must_use]
pub fn missing_requirements() -> Vec<String> {
    let mut missing = Vec::new();
    if let Err(error) = on_thread(|| unshare(CloneFlags::CLONE_NEWNET)) {
        missing.push(format!(
            "cannot create a network namespace ({error}): run as root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW)"
        ));
    } else if is_in_user_namespace() {
        missing.push(
            "root in a user namespace (unshare -Ur) cannot set gro_flush_timeout, by which links merge datagrams: \
             run as root of the host"
                .to_owned(),
        );
    }
    for (program, version, purpose, package) in [
        ("ip", "-V", "sets up interfaces and routes", "iproute2"),
        ("ethtool", "--version", "sets up GSO and GRO", "ethtool"),
    ] {
        if let Err(error) = Command::new(program).arg(version).output() {
            missing.push(format!(
                "cannot run {program} ({error}), which {purpose} in network namespaces: install the Debian package \
                 {package}"
            ));
        }
    }
    missing
}

fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(INITIAL_UID_MAP)
}

/// Returns true if the [requirements](missing_requirements) are met. Otherwise prints to standard error that `test` is
/// skipped, and why.
///
/// # Panics
///
/// If a requirement is not met and [`REQUIRE_ROOT`] is set.
#[must_use]
pub fn may_make_namespaces(test: &str) -> bool {
    let missing = missing_requirements();
    if !missing.is_empty() {
        skip(test, &missing.join("; "));
    }
    missing.is_empty()
}

/// Prints to standard error, uncaptured by the test harness, that `test` is skipped.
///
/// # Panics
///
/// If [`REQUIRE_ROOT`] is set.
pub fn skip(test: &str, reason: &str) {
    assert!(
        env::var_os(REQUIRE_ROOT).is_none(),
        "cannot run {test}, and {REQUIRE_ROOT} forbids skipping it: {reason}"
    );
    let _ = writeln!(std::io::stderr(), "skipped {test}: {reason}");
}

/// A network namespace with a loopback interface that is up.
///
/// It has no name and is kept alive by an open file: the kernel removes it and its links with the last clone, socket
/// and process in it, also after a panic or SIGKILL.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// Creates a namespace. IPv6 addresses are usable at once (no duplicate address detection).
    ///
    /// # Panics
    ///
    /// If a requirement is not met, see [`missing_requirements`].
    #[must_use]
    pub fn new() -> Self {
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("creating a network namespace needs root");
            for which in ["all", "default"] {
                let setting = format!("/proc/sys/net/ipv6/conf/{which}/accept_dad");
                // Absent without IPv6.
                let _ = fs::write(setting, "0");
            }
            shell("ip link set lo up");
            File::open("/proc/thread-self/ns/net").expect("file of the namespace")
        });
        Self {
            file: Arc::new(file),
        }
    }

    /// Calls `body` on a thread inside the namespace. Sockets opened and processes started there stay in the namespace.
    /// A panic in `body` continues in the caller.
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

    /// Runs a shell script inside the namespace, see [`shell`].
    pub fn shell(&self, script: &str) -> String {
        self.run(|| shell(script))
    }

    /// Sets a value below `/proc/sys/net`, such as `ipv6/auto_flowlabels`.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.run(|| {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .unwrap_or_else(|error| panic!("cannot set net/{name} to {value}: {error}"));
        });
    }

    /// Returns a path to the namespace for commands started by this process.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread into the namespace, for the rest of its life.
    fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("cannot enter the namespace");
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls `body` on a new thread, so that the namespaces of the calling thread do not change.
pub(crate) fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(body)
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Runs a shell script in the calling thread's namespace, and returns its standard output.
///
/// # Panics
///
/// If it fails, with its output.
pub fn shell(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .output()
        .expect("cannot run sh");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "`{script}` failed ({}): {}{printed}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

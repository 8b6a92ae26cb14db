//! Tests in a new network namespace, whose interfaces they may reconfigure.

use std::env;
use std::io::Write as _;
use std::process::Command;

use crate::namespace::shell;

/// Environment variable that is set for the process inside the namespace.
const INSIDE: &str = "SNAPGATE_TEST_NETWORK";

/// Runs the test `name` (`module::function`) in a new process with a new network namespace, a loopback interface, and
/// the rights to change both. Unlike [`crate::Namespace`] it needs no root if the kernel allows user namespaces. If a
/// requirement is not met, prints to standard error that the test is skipped, and why.
///
/// # Panics
///
/// If the test fails or does not exist.
pub fn in_namespace(name: &str, test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        shell("ip link set lo up");
        return test();
    }
    let unshare = match unshare_flags() {
        Ok(flags) => flags,
        Err(reason) => {
            // Not by `eprintln!`, which is captured.
            let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
            return;
        }
    };
    let output = Command::new("unshare")
        .arg(unshare)
        .arg(env::current_exe().expect("path of the test program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("cannot run unshare");
    let printed =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success(),
        "{name} failed in its namespace: {}",
        printed.concat()
    );
    // A wrong name selects no test, which is a success for the test harness.
    assert!(printed[0].contains("1 passed"), "{}", printed.concat());
}

/// Returns the flags with which unshare(1) works on this machine, or the requirement that is not met.
fn unshare_flags() -> Result<&'static str, String> {
    const PROBE: &str = "ip link set lo up && tc qdisc add dev lo root handle 1: htb && ss -u";
    let mut reasons = Vec::new();
    for flags in ["-Urn", "-n"] {
        match Command::new("unshare")
            .args([flags, "sh", "-c", PROBE])
            .output()
        {
            Ok(probe) if probe.status.success() => return Ok(flags),
            Ok(probe) => {
                let error = String::from_utf8_lossy(&probe.stderr).trim().to_owned();
                reasons.push(format!("unshare {flags}: {error}"));
            }
            Err(error) => reasons.push(format!("cannot run unshare: {error}")),
        }
    }
    Err(format!(
        "it needs user namespaces or root, the Debian package iproute2 (ip, tc, ss), and the kernel's htb qdisc; {}",
        reasons.join("; ")
    ))
}

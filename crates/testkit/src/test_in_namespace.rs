//! A test that runs in a network namespace of its own, where it may break things.

use std::env;
use std::io::Write as _;
use std::process::Command;

use crate::namespace::shell;

/// Environment variable of the process inside the namespace.
const INSIDE: &str = "SNAPGATE_TEST_NETWORK";

/// Runs `test`, which has this name (`module::function`), in a process of its own with a new network namespace, a
/// loopback interface, and the rights to change both. Unlike [`crate::Namespace`] it needs no root where the kernel
/// allows user namespaces. Where it does not, the test is skipped, and says so on standard error.
///
/// # Panics
///
/// When the test fails, or there is no test with this name.
pub fn in_namespace(name: &str, test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        shell("ip link set lo up");
        return test();
    }
    let Some(unshare) = allowed() else {
        // Not by `eprintln!`, which is captured.
        let _ = writeln!(
            std::io::stderr(),
            "skipped {name}: it needs a network namespace (unshare -Urn or root), and ip, tc with htb, and ss"
        );
        return;
    };
    let output = Command::new("unshare")
        .arg(unshare)
        .arg(env::current_exe().expect("a test program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1)");
    let printed =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success(),
        "in its namespace: {}",
        printed.concat()
    );
    // Else a wrong name would pass.
    assert!(printed[0].contains("1 passed"), "{}", printed.concat());
}

/// The flags of unshare(1) that work here.
fn allowed() -> Option<&'static str> {
    const PROBE: &str = "ip link set lo up && tc qdisc add dev lo root handle 1: htb && ss -u";
    ["-Urn", "-n"].into_iter().find(|flags| {
        let probe = Command::new("unshare")
            .args([flags, "sh", "-c", PROBE])
            .output();
        probe.is_ok_and(|probe| probe.status.success())
    })
}

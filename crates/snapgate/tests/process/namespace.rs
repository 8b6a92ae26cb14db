//! A network of the test's own, where it may break things.

use std::env;
use std::io::Write as _;
use std::process::Command;

/// Set in the process that has the network.
const INSIDE: &str = "SNAPGATE_TEST_NETWORK";

/// Does `test`, which has this name (`module::function`), in a new network namespace with a loopback interface
/// and the rights to change it. Where the kernel does not allow one, the test is skipped, and says so on standard
/// error.
pub(crate) fn in_namespace(name: &str, test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        sh("ip link set lo up");
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
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
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

/// Runs a command in the namespace.
pub(crate) fn sh(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

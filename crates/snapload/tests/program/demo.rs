//! Output and exit codes of `snapload demo`.

use std::io::{BufRead as _, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use testkit::{in_namespace, shell};

use crate::command::{snapload, text};

#[test]
fn help_has_examples() {
    let output = snapload("demo --help");
    assert!(text(&output.stdout).contains("Example"));
}

#[test]
fn invalid_arguments_are_explained() {
    for (arguments, explanation) in [
        ("demo --duration soon", "such as 500ms, 10s or 1m"),
        ("demo --size 10", "expected a size from 64 to"),
        ("demo --tunnels 0", "at least 1"),
        ("demo --dispatch magic", "expected kernel or user"),
    ] {
        let output = snapload(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(explanation), "{output:?}");
    }
}

#[test]
fn closed_standard_output_is_not_reported() {
    // The write fails with EPIPE, as on a pipe without a reader. A pipe would not do: for a moment a process started by
    // another test has a copy of its read end. A shutdown holds for all copies.
    let (reader, writer) = UnixStream::pair().unwrap();
    reader.shutdown(Shutdown::Both).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_snapload"))
        .args(["demo", "--duration=1ms", "--tunnels=1"])
        .args(["--workers=1", "--cpus=none", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn failed_worker_is_reported() {
    in_namespace("demo::failed_worker_is_reported", || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snapload"))
            .args(["demo", "--workers=1", "--cpus=none", "--tunnels=10"])
            // With user dispatch a worker has one socket for tunnels, which SOCK_DESTROY can reach.
            .args(["--rate=100", "--duration=1m", "--dispatch=user"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut line_with = |wanted: &str| {
            let line = lines
                .by_ref()
                .find(|line| line.as_ref().unwrap().contains(wanted));
            line.unwrap().unwrap()
        };
        line_with("connected 10 tunnels");
        let mut plan = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut plan).unwrap();
        let (_, port) = plan.split_once(':').unwrap();
        let port: u16 = port.trim().parse().unwrap();
        // Makes the next system call on the socket fail.
        shell(&format!(
            "ss --kill --udp --all --numeric src :{port} >/dev/null"
        ));
        line_with("error: worker 0 failed: cannot receive on a data socket");
        assert_eq!(child.wait().unwrap().code(), Some(1));
    });
}

//! `snapload demo`: its output and its exit codes.

use std::io::{BufRead as _, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use testkit::{in_namespace, shell};

use crate::command::{snapload, text};

#[test]
fn the_help_has_examples() {
    let output = snapload("demo --help");
    assert!(text(&output.stdout).contains("Example"));
}

#[test]
fn wrong_usage_is_explained() {
    for (arguments, explanation) in [
        ("demo --duration soon", "write it like 500ms, 10s or 1m"),
        ("demo --size 10", "is not a size from 64 to"),
        ("demo --tunnels 0", "at least 1"),
        ("demo --dispatch magic", "kernel and user"),
    ] {
        let output = snapload(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(explanation), "{output:?}");
    }
}

#[test]
fn who_closes_the_pipe_is_not_told_about_it() {
    // A write is an error (EPIPE) as when nobody has the other end of a pipe. But a process that another test
    // starts would have a copy of that end for a moment; what is shut down is so for all copies.
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
fn a_demo_whose_worker_fails_says_so() {
    in_namespace("demo::a_demo_whose_worker_fails_says_so", || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snapload"))
            .args(["demo", "--workers=1", "--cpus=none", "--tunnels=10"])
            // With user dispatch a worker has one socket for tunnels, and SOCK_DESTROY gets at it.
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
        line_with("10 tunnels connected");
        let mut plan = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut plan).unwrap();
        let (_, port) = plan.split_once(':').unwrap();
        let port: u16 = port.split(',').next().unwrap().parse().unwrap();
        // The next system call on the socket is an error.
        shell(&format!(
            "ss --kill --udp --all --numeric src :{port} >/dev/null"
        ));
        line_with("error: worker 0 failed: cannot receive on a data socket");
        assert_eq!(child.wait().unwrap().code(), Some(1));
    });
}

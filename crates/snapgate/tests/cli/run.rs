//! `snapgate run`: starts, says what it does, and stops when asked to.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use crate::Workspace;

const RUN: [&str; 9] = [
    "run",
    "--private-key-file=private.key",
    "--allow-any-identity",
    "--forward=echo",
    "--listen=127.0.0.1:0",
    "--workers=1",
    "--cpus=none",
    "--receive-buffer=64KiB",
    "--send-buffer=64KiB",
];

/// Ends the child if a test does not.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_runs_until_a_signal_and_prints_what_it_did() {
    let workspace = Workspace::new();
    for signal in ["INT", "TERM"] {
        let mut command = workspace.snapgate(&RUN);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let mut log = BufReader::new(running.0.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("tunnels come in at 127.0.0.1:") {
            assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
        }
        assert!(
            said.contains("EVERYONE who knows the public key may open a tunnel"),
            "{said}"
        );
        assert!(
            said.contains("workers: 1 (as configured), on any CPU"),
            "{said}"
        );
        assert!(!said.contains('\x1b'), "{said}");

        let pid = running.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let status = running.0.wait().unwrap();
        log.read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains(&format!("stopping on SIG{signal}")), "{said}");
        let mut summary = String::new();
        running
            .0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut summary)
            .unwrap();
        assert!(summary.starts_with("Ran for "), "{summary}");
    }
}

#[test]
fn an_address_in_use_is_a_failure_while_running() {
    let workspace = Workspace::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut arguments = RUN.to_vec();
    let listen = format!("--listen={address}");
    arguments[4] = &listen;
    let outcome = workspace.run(&arguments);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let error = outcome
        .err
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    assert!(error.contains(&address), "{error}");
}

#[test]
fn a_bad_configuration_does_not_start() {
    Workspace::new()
        .run(&[
            "run",
            "--config",
            "good.toml",
            "--dispatch",
            "magic",
            "--cpus",
            "x",
        ])
        .refused_with(&[
            "--cpus: \"x\" is neither a CPU nor a range of CPUs",
            "--dispatch: \"magic\" is none of kernel and user",
        ]);
}

#[test]
fn without_log_messages_there_is_nothing_but_the_summary() {
    let workspace = Workspace::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let mut arguments = RUN.to_vec();
    arguments[4] = &listen;
    arguments.push("--log=off");
    let outcome = workspace.run(&arguments);
    assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
}

//! Failed starts of `snapgate run`. The tests `process` cover a running gateway.

use std::fs::File;
use std::net::UdpSocket;
use std::process::Stdio;

use crate::{Outcome, Workspace};

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

#[test]
fn address_in_use_is_a_failure() {
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
fn missing_state_dir_is_an_invalid_configuration() {
    let mut arguments = RUN.to_vec();
    arguments.push("--state-dir=missing");
    Workspace::new()
        .run(&arguments)
        .rejected_with(&["--state-dir: missing: not found; check the path"]);
}

#[test]
fn identities_file_without_visible_changes_is_rejected() {
    let workspace = Workspace::new();
    let (pipe, writer) = std::io::pipe().unwrap();
    drop(writer);
    let file = File::open(workspace.path("identities.toml")).unwrap();
    let cases = [
        (
            Stdio::from(pipe),
            "expected a regular file, which can be read again when it changes, got a pipe",
        ),
        (
            Stdio::from(file),
            "expected the path of a file, got an open descriptor",
        ),
    ];
    for (stdin, reason) in cases {
        let mut arguments = RUN.to_vec();
        arguments[2] = "--identities=/dev/stdin";
        let output = workspace.snapgate(&arguments).stdin(stdin).output();
        let error = format!("--identities: /dev/stdin: {reason}");
        Outcome::from(output.unwrap()).rejected_with(&[&error]);
    }
}

#[test]
fn invalid_configuration_is_rejected() {
    Workspace::new()
        .run(&[
            "run",
            "--config",
            "valid.toml",
            "--dispatch",
            "magic",
            "--cpus",
            "x",
        ])
        .rejected_with(&[
            "--cpus: expected a CPU list, such as 0-3,8, or auto or none, got \"x\"",
            "--dispatch: expected kernel or user, got \"magic\"",
        ]);
}

#[test]
fn log_filter_does_not_hide_the_warning_about_any_identity() {
    let workspace = Workspace::new();
    // The address in use makes the start fail.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    for filter in ["--log=error", "--log=off"] {
        let mut arguments = RUN.to_vec();
        arguments[4] = &listen;
        arguments.push(filter);
        let outcome = workspace.run(&arguments);
        let lines: Vec<&str> = outcome.err.lines().collect();
        let [warning, error] = lines.as_slice() else {
            panic!("{outcome:?}")
        };
        assert!(warning.starts_with("warning: every client "), "{outcome:?}");
        assert!(error.starts_with("error: cannot listen"), "{outcome:?}");
    }
}

#[test]
fn only_the_error_is_printed_without_a_log() {
    let workspace = Workspace::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let mut arguments = RUN.to_vec();
    arguments[2] = "--identities=identities.toml";
    arguments[4] = &listen;
    arguments.push("--log=off");
    let outcome = workspace.run(&arguments);
    assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
}

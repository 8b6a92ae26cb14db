//! `snapgate run` that does not start. What it does when it runs is in the tests of the gateway.

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
fn a_state_directory_that_is_not_there_is_a_wrong_configuration() {
    let mut arguments = RUN.to_vec();
    arguments.push("--state-dir=missing");
    Workspace::new()
        .run(&arguments)
        .refused_with(&["--state-dir: missing does not exist; check the path"]);
}

#[test]
fn an_identities_file_that_shows_no_changes_is_refused() {
    let workspace = Workspace::new();
    let (pipe, writer) = std::io::pipe().unwrap();
    drop(writer);
    let file = File::open(workspace.path("identities.toml")).unwrap();
    let cases = [
        (
            Stdio::from(pipe),
            "is a pipe and not a regular file, which it has to be to be read again when it changes",
        ),
        (
            Stdio::from(file),
            "is an open descriptor of this process and shows no new version of the file; give the path",
        ),
    ];
    for (stdin, reason) in cases {
        let mut arguments = RUN.to_vec();
        arguments[2] = "--identities=/dev/stdin";
        let output = workspace.snapgate(&arguments).stdin(stdin).output();
        let error = format!("--identities: /dev/stdin {reason}");
        Outcome::from(output.unwrap()).refused_with(&[&error]);
    }
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
fn no_log_filter_hides_that_everyone_is_let_in() {
    let workspace = Workspace::new();
    // Its address is taken, so that it ends by itself.
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
        assert!(warning.starts_with("warning: EVERYONE "), "{outcome:?}");
        assert!(error.starts_with("error: cannot listen"), "{outcome:?}");
    }
}

#[test]
fn without_log_messages_there_is_nothing_but_the_failure() {
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

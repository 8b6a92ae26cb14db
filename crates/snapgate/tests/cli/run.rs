//! `snapgate run`: starts, says what it does, and stops when asked to.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::process::{Child, ChildStderr, Command, Stdio};

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

/// The gateway, once it says where tunnels come in, with all that it said until then.
fn start(workspace: &Workspace, arguments: &[&str]) -> (Running, BufReader<ChildStderr>, String) {
    let mut command = workspace.snapgate(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut log = BufReader::new(running.0.stderr.take().unwrap());
    let mut said = String::new();
    read_until(&mut log, &mut said, "tunnels come in at 127.0.0.1:");
    (running, log, said)
}

fn read_until(log: &mut BufReader<ChildStderr>, said: &mut String, wanted: &str) {
    while !said.contains(wanted) {
        assert_ne!(log.read_line(said).unwrap(), 0, "{said}");
    }
}

fn send(signal: &str, running: &Running) {
    let pid = running.0.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn it_runs_until_a_signal_and_prints_what_it_did() {
    let workspace = Workspace::new();
    for signal in ["INT", "TERM"] {
        let (mut running, mut log, mut said) = start(&workspace, &RUN);
        assert!(
            said.contains("warning: EVERYONE who knows the public key may open a tunnel"),
            "{said}"
        );
        assert!(
            said.contains("workers: 1 (as configured), on any CPU"),
            "{said}"
        );
        assert!(!said.contains('\x1b'), "{said}");
        assert!(!said.contains("snapgate::"), "{said}");

        send(signal, &running);
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
fn a_log_that_nobody_reads_any_more_changes_nothing() {
    let workspace = Workspace::new();
    let (mut running, log, _) = start(&workspace, &RUN);
    drop(log);
    send("HUP", &running);
    send("TERM", &running);
    let mut summary = String::new();
    let mut stdout = running.0.stdout.take().unwrap();
    stdout.read_to_string(&mut summary).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(summary.contains("Nothing was dropped."), "{summary}");
}

#[test]
fn a_reload_is_refused_without_stopping() {
    let workspace = Workspace::new();
    let (mut running, mut log, mut said) = start(&workspace, &RUN);
    send("HUP", &running);
    let refusal = "reloading is not supported yet: restart to apply a new configuration";
    read_until(&mut log, &mut said, refusal);
    send("TERM", &running);
    let status = running.0.wait().unwrap();
    log.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("stopping on SIGTERM"), "{said}");
}

#[test]
fn a_sink_says_what_becomes_of_packets() {
    let mut arguments = RUN.to_vec();
    arguments[3] = "--forward=sink";
    let (_running, mut log, mut said) = start(&Workspace::new(), &arguments);
    read_until(
        &mut log,
        &mut said,
        "packets are discarded and counted as delivered",
    );
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

//! The format of the log and its colours. Every gateway here ends by itself, because its address is taken.

use std::net::UdpSocket;
use std::process::Command;

use serde_json::Value;

use crate::{Outcome, Workspace};

const ESCAPE: char = '\x1b';

/// A gateway that logs warnings and fails to start, because its address is taken.
struct Failing {
    workspace: Workspace,
    taken: UdpSocket,
}

impl Failing {
    fn new() -> Self {
        Self {
            workspace: Workspace::new(),
            taken: UdpSocket::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.snapgate(&[
            "run",
            "--private-key-file=private.key",
            "--allow-any-identity",
            "--forward=echo",
            "--internal=127.0.0.1:1",
            "--cpus=none",
        ]);
        let listen = self.taken.local_addr().unwrap();
        command.arg(format!("--listen={listen}")).args(arguments);
        command
    }

    fn log(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        let outcome = Outcome::of(command);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        outcome.err
    }
}

/// The objects of a log in JSON.
fn objects(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| {
            let object = serde_json::from_str(line);
            assert!(object.is_ok(), "{line}");
            object.unwrap()
        })
        .inspect(|object: &Value| {
            for key in ["timestamp", "level", "message"] {
                assert!(object[key].is_string(), "{key}: {object}");
            }
            let is_flat = |value: &Value| !value.is_object() && !value.is_array();
            assert!(
                object.as_object().unwrap().values().all(is_flat),
                "{object}"
            );
        })
        .collect()
}

#[test]
fn text_has_a_message_and_fields() {
    let log = Failing::new().log(&[], &[]);
    assert!(
        log.contains(" WARN configuration warning=\"internal "),
        "{log}"
    );
}

#[test]
fn every_line_of_json_is_a_flat_object() {
    let failing = Failing::new();
    for filter in ["--log=info", "--log=off"] {
        let log = failing.log(&["--log-format=json", filter], &[]);
        let lines = objects(&log);
        let of_level = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
        // The printed warning and error are not filtered.
        let warnings = if filter == "--log=off" { 1 } else { 2 };
        assert_eq!(
            (of_level("WARN"), of_level("ERROR")),
            (warnings, 1),
            "{log}"
        );
        let error = lines.last().unwrap()["message"].as_str().unwrap();
        assert!(error.starts_with("cannot listen: "), "{log}");
    }
}

#[test]
fn a_wrong_configuration_is_reported_as_json() {
    let workspace = Workspace::new();
    workspace.write("x.toml", "log_format = \"json\"\nworkers = \"some\"\n");
    for arguments in [
        ["run", "--config=x.toml"].as_slice(),
        &["run", "--log-format=json", "--workers=some"],
    ] {
        let outcome = workspace.run(arguments);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let lines = objects(&outcome.err);
        let has_workers = |line: &Value| line["message"].as_str().unwrap().contains("workers");
        assert!(lines.iter().any(has_workers), "{outcome:?}");
        assert!(
            lines.iter().all(|line| line["level"] == "ERROR"),
            "{outcome:?}"
        );
    }
}

#[test]
fn an_unknown_format_is_an_error() {
    Workspace::new()
        .run(&["check", "--config=valid.toml", "--log-format=xml"])
        .rejected_with(&["--log-format: expected text or json, got \"xml\""]);
}

#[test]
fn log_and_help_follow_the_environment_for_colours() {
    let failing = Failing::new();
    for (environment, has_colours) in [
        (&[][..], false),
        (&[("TERM", "xterm")], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], true),
    ] {
        let log = failing.log(&[], environment);
        assert_eq!(log.contains(ESCAPE), has_colours, "{environment:?}: {log}");
        let mut help = failing.workspace.snapgate(&["run", "--help"]);
        help.envs(environment.iter().copied());
        let help = Outcome::of(help);
        assert_eq!(
            help.success().contains(ESCAPE),
            has_colours,
            "{environment:?}"
        );
    }
    let log = failing.log(&["--log-format=json"], &[("CLICOLOR_FORCE", "1")]);
    objects(&log);
}

/// [`Outcome`] checks that the private key is not in the output.
#[test]
fn no_log_level_shows_the_private_key() {
    let failing = Failing::new();
    for format in ["--log-format=text", "--log-format=json"] {
        let log = failing.log(&["--log=trace", format], &[]);
        assert!(log.contains("configuration"), "{log}");
    }
}

//! Help, version and invalid usage.

use crate::{Outcome, Workspace};

#[test]
fn help_fits_80_columns() {
    let workspace = Workspace::new();
    for arguments in [
        ["--help"].as_slice(),
        &["run", "--help"],
        &["check", "--help"],
        &["genkey", "--help"],
        &["pubkey", "--help"],
    ] {
        let mut command = workspace.snapgate(arguments);
        command.env("COLUMNS", "80");
        let outcome = Outcome::of(command);
        for line in outcome.success().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn help_shows_settings_with_defaults_variables_and_examples() {
    let workspace = Workspace::new();
    let help = workspace.run(&["run", "--help"]);
    for expected in [
        "Tunnels:",
        "Forwarding:",
        "Workers:",
        "--receive-buffer <SIZE>",
        "[default: 8MiB]",
        "[env: SNAPGATE_LISTEN]",
        "Examples:",
        "[[identity]]",
        "Exit codes:",
    ] {
        assert!(
            help.success().contains(expected),
            "{expected}\n{}",
            help.out
        );
    }
    for command in ["check", "genkey", "pubkey"] {
        assert!(
            workspace
                .run(&[command, "--help"])
                .success()
                .contains("Example"),
            "{command}"
        );
    }
}

#[test]
fn examples_in_the_help_are_valid() {
    let workspace = Workspace::new();
    let help = workspace.run(&["run", "--help"]);
    let example = |start: &str| -> String {
        let lines = help
            .success()
            .lines()
            .skip_while(|line| *line != start)
            .skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .map(|line| format!("{}\n", line.trim_start()))
            .collect()
    };
    workspace.write(
        "identities.toml",
        example("Identities file:").replace(crate::PUBLIC_KEY, crate::PEER),
    );
    workspace.check(example("Configuration file:")).success();
}

#[test]
fn version_is_printed() {
    let outcome = Workspace::new().run(&["--version"]);
    assert_eq!(
        outcome.success(),
        format!("snapgate {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn invalid_usage_is_explained() {
    let workspace = Workspace::new();
    for (arguments, explanation) in [
        (
            ["run", "--lisen", "x"].as_slice(),
            "a similar argument exists: '--listen'",
        ),
        (&["runn"], "a similar subcommand exists: 'run'"),
        (
            &["run", "--workers"],
            "a value is required for '--workers <N|auto>'",
        ),
        (
            &["run", "--workers", "1", "--workers", "2"],
            "cannot be used multiple times",
        ),
        (&[], "Usage: snapgate <COMMAND>"),
    ] {
        let outcome = workspace.run(arguments);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.err.contains(explanation), "{outcome:?}");
    }
}

//! Flags override environment variables, which override the file.

use std::process::Command;

use serde_json::Value;

use crate::{Outcome, VALID, Workspace};

/// Returns the value of a setting and its source.
fn effective(command: Command, setting: &str) -> (Value, String) {
    let outcome = Outcome::of(command);
    let entry = outcome
        .success()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|entry| entry["setting"] == setting)
        .unwrap();
    (
        entry["value"].clone(),
        entry["from"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn flag_overrides_variable_and_variable_overrides_file() {
    let workspace = Workspace::new();
    workspace.write("x.toml", format!("send_buffer = \"1MiB\"\n{VALID}"));
    let with_default = workspace.snapgate(&["check", "--json", "--config", "valid.toml"]);
    assert_eq!(
        effective(with_default, "send_buffer"),
        ((4 << 20).into(), "default".to_owned())
    );

    let with_file = || workspace.snapgate(&["check", "--json", "--config", "x.toml"]);
    assert_eq!(
        effective(with_file(), "send_buffer"),
        ((1 << 20).into(), "x.toml:1".to_owned())
    );

    let mut with_environment = with_file();
    with_environment.env("SNAPGATE_SEND_BUFFER", "2MiB");
    let from_environment = effective(with_environment, "send_buffer");
    assert_eq!(
        from_environment,
        ((2 << 20).into(), "SNAPGATE_SEND_BUFFER".to_owned())
    );

    let mut with_flag = with_file();
    with_flag
        .env("SNAPGATE_SEND_BUFFER", "2MiB")
        .args(["--send-buffer", "3MiB"]);
    assert_eq!(
        effective(with_flag, "send_buffer"),
        ((3 << 20).into(), "--send-buffer".to_owned())
    );
}

#[test]
fn list_replaces_the_list_of_a_lower_source() {
    let workspace = Workspace::new();
    let check = || workspace.snapgate(&["check", "--json", "--config", "valid.toml"]);

    let mut with_environment = check();
    with_environment.env("SNAPGATE_LISTEN", "127.0.0.1:1,127.0.0.1:2");
    let (value, place) = effective(with_environment, "listen");
    assert_eq!(
        (value, place.as_str()),
        (
            ["127.0.0.1:1", "127.0.0.1:2"].into_iter().collect(),
            "SNAPGATE_LISTEN"
        )
    );

    let mut with_flags = check();
    with_flags.env("SNAPGATE_LISTEN", "127.0.0.1:1").args([
        "--listen",
        "127.0.0.1:3",
        "--listen",
        "[::1]:4",
    ]);
    let (value, place) = effective(with_flags, "listen");
    assert_eq!(
        (value, place.as_str()),
        (["127.0.0.1:3", "[::1]:4"].into_iter().collect(), "--listen")
    );
}

#[test]
fn switch_can_be_set_to_false() {
    let workspace = Workspace::new();
    workspace.write("x.toml", format!("no_gso = true\n{VALID}"));
    let check = |flag: &[&str]| {
        let mut command = workspace.snapgate(&["check", "--json", "--config", "x.toml"]);
        command.args(flag);
        effective(command, "no_gso").0
    };
    assert_eq!(check(&[]), true);
    assert_eq!(check(&["--no-gso=false"]), false);
    assert_eq!(check(&["--no-gso"]), true);
    let mut with_environment = workspace.snapgate(&["check", "--json", "--config", "valid.toml"]);
    with_environment.env("SNAPGATE_NO_GRO", "true");
    assert_eq!(
        effective(with_environment, "no_gro"),
        (true.into(), "SNAPGATE_NO_GRO".to_owned())
    );
}

#[test]
fn environment_variable_can_name_the_file() {
    let workspace = Workspace::new();
    let mut command = workspace.snapgate(&["check", "--json"]);
    command.env("SNAPGATE_CONFIG", "valid.toml");
    assert_eq!(
        effective(command, "internal"),
        ("127.0.0.1:30100".into(), "valid.toml:4".to_owned())
    );
}

#[test]
fn paths_in_a_file_are_relative_to_its_directory_and_others_to_the_working_directory() {
    let workspace = Workspace::new();
    std::fs::create_dir(workspace.path("elsewhere")).unwrap();
    let elsewhere = |arguments: &[&str]| {
        let mut command = workspace.snapgate(&["check", "--config", "../valid.toml"]);
        command
            .args(arguments)
            .current_dir(workspace.path("elsewhere"));
        Outcome::of(command)
    };
    elsewhere(&[]).success();
    elsewhere(&["--private-key-file", "../private.key"]).success();
    elsewhere(&["--private-key-file", "private.key"])
        .rejected_with(&["--private-key-file: private.key: not found; check the path"]);
}

#[test]
fn errors_name_the_source_of_the_value() {
    let workspace = Workspace::new();
    let mut command = workspace.snapgate(&["check", "--config", "valid.toml", "--metrics", "here"]);
    command
        .env("SNAPGATE_WORKERS", "zero")
        .env("SNAPGATE_LISTEN", "")
        .env("SNAPGATE_NO_GSO", "maybe");
    Outcome::of(command).rejected_with(&[
        "SNAPGATE_LISTEN: empty value; set a value or remove the setting",
        "SNAPGATE_WORKERS: expected a whole number from 1 to 1024 or auto, got \"zero\"",
        "SNAPGATE_NO_GSO: expected true or false, got \"maybe\"",
        "--metrics: expected an IP address with a port",
    ]);
}

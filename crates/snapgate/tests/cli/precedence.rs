//! A flag wins over the environment variable, the variable over the file, the file over the
//! default.

use std::process::Command;

use serde_json::Value;

use crate::{GOOD, Outcome, Workspace};

/// The value of a setting, and where it came from.
fn effective(command: Command, setting: &str) -> (Value, String) {
    let outcome = Outcome::of(command);
    let checked: Value = serde_json::from_str(outcome.good()).unwrap();
    let entry = &checked["settings"][setting];
    (
        entry["value"].clone(),
        entry["from"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn each_source_gives_way_to_the_one_before() {
    let workspace = Workspace::new();
    workspace.write("x.toml", format!("send_buffer = \"1MiB\"\n{GOOD}"));
    let with_default = workspace.snapgate(&["check", "--json", "--config", "good.toml"]);
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
fn a_list_replaces_the_list_of_a_lower_source() {
    let workspace = Workspace::new();
    let check = || workspace.snapgate(&["check", "--json", "--config", "good.toml"]);

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
fn a_switch_can_be_switched_back() {
    let workspace = Workspace::new();
    workspace.write("x.toml", format!("no_gso = true\n{GOOD}"));
    let check = |flag: &[&str]| {
        let mut command = workspace.snapgate(&["check", "--json", "--config", "x.toml"]);
        command.args(flag);
        effective(command, "no_gso").0
    };
    assert_eq!(check(&[]), true);
    assert_eq!(check(&["--no-gso=false"]), false);
    assert_eq!(check(&["--no-gso"]), true);
    let mut with_environment = workspace.snapgate(&["check", "--json", "--config", "good.toml"]);
    with_environment.env("SNAPGATE_NO_GRO", "true");
    assert_eq!(
        effective(with_environment, "no_gro"),
        (true.into(), "SNAPGATE_NO_GRO".to_owned())
    );
}

#[test]
fn the_file_itself_can_come_from_the_environment() {
    let workspace = Workspace::new();
    let mut command = workspace.snapgate(&["check", "--json"]);
    command.env("SNAPGATE_CONFIG", "good.toml");
    assert_eq!(
        effective(command, "internal"),
        ("127.0.0.1:30100".into(), "good.toml:4".to_owned())
    );
}

#[test]
fn paths_in_a_file_are_relative_to_it_and_others_to_where_one_is() {
    let workspace = Workspace::new();
    std::fs::create_dir(workspace.path("elsewhere")).unwrap();
    let elsewhere = |arguments: &[&str]| {
        let mut command = workspace.snapgate(&["check", "--config", "../good.toml"]);
        command
            .args(arguments)
            .current_dir(workspace.path("elsewhere"));
        Outcome::of(command)
    };
    elsewhere(&[]).good();
    elsewhere(&["--private-key-file", "../private.key"]).good();
    elsewhere(&["--private-key-file", "private.key"])
        .refused_with(&["--private-key-file: private.key does not exist; check the path"]);
}

#[test]
fn errors_name_the_source_of_the_value() {
    let workspace = Workspace::new();
    let mut command = workspace.snapgate(&["check", "--config", "good.toml", "--metrics", "here"]);
    command
        .env("SNAPGATE_WORKERS", "zero")
        .env("SNAPGATE_LISTEN", "")
        .env("SNAPGATE_NO_GSO", "maybe");
    Outcome::of(command).refused_with(&[
        "SNAPGATE_LISTEN: the value is empty; give it one or leave the setting out",
        "SNAPGATE_WORKERS: \"zero\" is neither a whole number from 1 to 1024 nor auto",
        "SNAPGATE_NO_GSO: \"maybe\" is neither true nor false",
        "--metrics: \"here\" is not an IP address with a port",
    ]);
}

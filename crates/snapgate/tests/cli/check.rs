//! `snapgate check`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::{Outcome, PRIVATE_KEY, PUBLIC_KEY, VALID, Workspace};

/// Several local prefixes, which do not fit on one line.
const LONG_LIST: &str = "local_prefix = [\"10.0.0.0/24\", \"10.0.1.0/24\", \"10.0.2.0/24\", \
                         \"10.0.3.0/24\", \"10.0.4.0/24\"]\n";

#[test]
fn settings_are_printed_with_their_sources() {
    let workspace = Workspace::new();
    workspace.write("x.toml", format!("{LONG_LIST}{VALID}"));
    let mut command = workspace.snapgate(&["check", "--config", "x.toml", "--workers", "1"]);
    command.env("SNAPGATE_VERIFIED_HANDSHAKES_PER_IP_PER_SECOND", "7");
    let outcome = Outcome::of(command);
    let printed = outcome.success();
    for (setting, source) in [
        ("listen = [\"127.0.0.1:0\"]", "x.toml:4"),
        ("private_key_file = \"private.key\"", "x.toml:2"),
        ("identities = \"identities.toml\"", "x.toml:3 (1 listed)"),
        (
            "next_hop.\"1-ff00:0:110#1\" = \"127.0.0.1:31002\"",
            "x.toml:8",
        ),
        ("local_prefix = [", "x.toml:1\n    \"10.0.0.0/24\","),
        ("workers = 1", "--workers (as configured)"),
        ("dispatch = \"kernel\"", "default"),
        ("receive_buffer = \"8MiB\"", "default"),
        ("handshake_timestamp_tolerance_seconds = 7200", "default"),
    ] {
        let line = format!("{setting:45}  # {source}\n");
        assert!(printed.contains(&line), "{line}\n{printed}");
    }
    for line in [
        format!("    # public key {PUBLIC_KEY}").as_str(),
        "# state_dir: none",
        "verified_handshakes_per_ip_per_second = 7",
        "    # SNAPGATE_VERIFIED_HANDSHAKES_PER_IP_PER_SECOND",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line}\n{printed}"
        );
    }
    let is_wide = |line: &&str| line.chars().count() > 80;
    assert_eq!(printed.lines().find(is_wide), None);
    assert_eq!(outcome.err, "");
}

#[test]
fn printed_settings_are_a_valid_configuration() {
    let workspace = Workspace::new();
    let first = workspace.check(format!("{LONG_LIST}{VALID}"));
    let second = workspace.check(first.success());
    let without_comments = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split("# ").next().unwrap());
        let lines = lines.map(|line| line.trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(
        without_comments(first.success()),
        without_comments(second.success())
    );
}

/// Parses JSON lines.
fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn json_has_one_line_for_each_setting() {
    let outcome = Workspace::new().run(&[
        "check",
        "--json",
        "--config",
        "valid.toml",
        "--receive-buffer",
        "1MiB",
    ]);
    let lines = json_lines(outcome.success());
    let setting = |name: &str| lines.iter().find(|line| line["setting"] == name).unwrap();
    assert_eq!(setting("receive_buffer")["value"], 1 << 20);
    assert_eq!(setting("receive_buffer")["from"], "--receive-buffer");
    assert_eq!(setting("listen")["value"][0], "127.0.0.1:0");
    assert_eq!(
        setting("next_hop")["value"]["1-ff00:0:110#1"],
        "127.0.0.1:31002"
    );
    assert_eq!(setting("local_isd_as")["from"], "default");
    assert_eq!(setting("metrics")["value"], Value::Null);
    assert!(lines.iter().any(|line| line["public_key"] == PUBLIC_KEY));
}

#[test]
fn valid_configuration_can_have_warnings() {
    let workspace = Workspace::new();
    fs::set_permissions(
        workspace.path("private.key"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let arguments = [
        "check",
        "--private-key-file",
        "private.key",
        "--allow-any-identity",
        "--forward",
        "echo",
    ];
    let outcome = workspace.run(&arguments);
    outcome.success();
    let warnings: Vec<&str> = outcome.err.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains(
        "private.key: readable by other users (mode 0644); run `chmod o-rwx private.key`"
    ));
    assert!(
        warnings[1].starts_with("warning: every client"),
        "{warnings:?}"
    );

    let checked = workspace.run(&[arguments.as_slice(), &["--json"]].concat());
    let lines = json_lines(checked.success());
    let warnings = lines.iter().filter(|line| line["warning"].is_string());
    assert_eq!(warnings.count(), 2);
    assert_eq!(checked.err, "");
}

#[test]
fn all_missing_settings_are_reported() {
    Workspace::new().run(&["check"]).rejected_with(&[
        "private_key_file is not set; set it with --private-key-file, SNAPGATE_PRIVATE_KEY_FILE or",
        "no client may open a tunnel; set --identities FILE, or --control-plane ADDRESS:PORT",
        "internal is not set; set it with --internal, SNAPGATE_INTERNAL or",
        "no local ISD-AS number; set --local-isd-as, --next-hop or --topology",
    ]);
}

#[test]
fn all_errors_are_reported_with_file_and_line() {
    let workspace = Workspace::new();
    workspace.write(
        "identities.toml",
        "[[identity]]\nname = \"no key\"\n[[identity]]\npublic_key = \"AAAA\"\n",
    );
    let text = VALID
        .replace("127.0.0.1:0", "localhost:1")
        .replace("127.0.0.1:31002", "127.0.0.1:0");
    let text = text.replace(
        "[next_hop]",
        "workers = \"some\"\nlisten_on = 1\nno_gso = 1\n[next_hop]",
    );
    workspace.check(text).rejected_with(&[
        "identities.toml:1: identity without public_key; add",
        "identities.toml:4: public_key: expected 32 bytes in base64, got 3; use",
        "x.toml:3: listen: expected an IP address with a port, such as 192.0.2.1:51820",
        "x.toml:6: workers: expected a whole number from 1 to 1024 or auto, got \"some\"",
        "x.toml:7: unknown key \"listen_on\"; did you mean \"listen\"?",
        "x.toml:8: no_gso: expected true or false, got an integer; example: no_gso = false",
        "x.toml:10: next_hop: 127.0.0.1:0 has port 0; use the router's port",
    ]);
}

#[test]
fn next_hop_in_a_file_is_quoted_as_written() {
    Workspace::new()
        .check(VALID.replace("#1\" =", "\" ="))
        .rejected_with(&[
            "x.toml:7: next_hop: expected ISD-AS#INTERFACE, such as 1-ff00:0:110#1, got \
             \"1-ff00:0:110\": #INTERFACE is missing",
        ]);
}

#[test]
fn json_has_one_line_for_each_error() {
    let workspace = Workspace::new();
    workspace.write(
        "x.toml",
        VALID.replace("internal =", "metrics = 7\ninternat ="),
    );
    let outcome = workspace.run(&["check", "--json", "--config", "x.toml"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(2), ""));
    let errors = json_lines(&outcome.out);
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert_eq!(
        (&errors[0]["file"], &errors[0]["line"]),
        (&"x.toml".into(), &4.into())
    );
    assert_eq!(errors[0]["setting"], "metrics");
    assert_eq!(
        errors[1]["error"],
        "unknown key \"internat\"; did you mean \"internal\"?"
    );
    assert_eq!(
        (&errors[2]["setting"], &errors[2]["line"]),
        (&"internal".into(), &Value::Null)
    );
}

#[test]
fn unusable_files_are_reported() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path("directory")).unwrap();
    for (file, error) in [
        ("missing.toml", "missing.toml: not found; check the path"),
        (
            "directory",
            "directory: is a directory; use the path of a file",
        ),
    ] {
        workspace
            .run(&["check", "--config", file])
            .rejected_with(&[error]);
    }
    workspace
        .check(b"listen = [\"\xff\"]\n")
        .rejected_with(&["x.toml: not UTF-8 text (byte 11, line 1)"]);
    workspace
        .check("listen = [\nworkers 2\n")
        .rejected_with(&["x.toml:2: invalid TOML: "]);

    for (name, line) in [("private.key", 1), ("identities.toml", 2)] {
        for (file, fault) in [("missing", "not found"), ("directory", "is a directory")] {
            let outcome = workspace.check(VALID.replace(name, file));
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            let start = format!("error: x.toml:{line}: ");
            assert!(outcome.err.starts_with(&start), "{start}\n{outcome:?}");
            assert!(
                outcome.err.contains(&format!("{file}: {fault}; ")),
                "{outcome:?}"
            );
            assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
        }
    }
}

/// Root can read all files, so there is no error for root.
#[test]
fn unreadable_file_is_reported() {
    let workspace = Workspace::new();
    fs::set_permissions(
        workspace.path("private.key"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let outcome = workspace.run(&["check", "--config", "valid.toml"]);
    match fs::read(workspace.path("private.key")) {
        Ok(_) => assert_eq!(outcome.code, Some(0), "{outcome:?}"),
        Err(_) => outcome
            .rejected_with(&["valid.toml:1: private_key_file: private.key: permission denied"]),
    }
}

#[test]
fn invalid_private_key_is_rejected() {
    let workspace = Workspace::new();
    for (key, found) in [
        ("", "an empty text"),
        ("c2hvcnQ=", "5"),
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "48",
        ),
        ("[Interface]", "other text"),
    ] {
        workspace.write("private.key", key);
        workspace
            .run(&["check", "--config", "valid.toml"])
            .rejected_with(&[&format!(
                "valid.toml:1: private_key_file: private.key: expected 32 bytes in base64, got \
                 {found}; `snapgate genkey"
            )]);
    }
}

#[test]
fn a_byte_order_mark_is_accepted_in_every_file() {
    let workspace = Workspace::new();
    workspace.write("topology.json", r#"{"isd_as": "1-ff00:0:110"}"#);
    let text = VALID.replace("[next_hop]", "topology = \"topology.json\"\n[next_hop]");
    workspace.write("valid.toml", text);
    let outcome = workspace.run(&["check", "--config", "valid.toml"]);
    let settings = outcome.success().to_owned();
    for name in [
        "private.key",
        "identities.toml",
        "topology.json",
        "valid.toml",
    ] {
        let text = fs::read_to_string(workspace.path(name)).unwrap();
        workspace.write(name, format!("\u{feff}{text}"));
        let outcome = workspace.run(&["check", "--config", "valid.toml"]);
        assert_eq!(outcome.success(), settings, "{name}");
    }
    let input = format!("\u{feff}{PRIVATE_KEY}\r\n");
    let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), &input);
    assert_eq!(outcome.success(), format!("{PUBLIC_KEY}\n"));
}

#[test]
fn topology_adds_next_hops() {
    let workspace = Workspace::new();
    workspace.write(
        "topology.json",
        r#"{"isd_as": "1-ff00:0:110", "mtu": 1472, "border_routers":
            {"br1": {"internal_addr": "127.0.0.1:31002", "interfaces": {"1": {"mtu": 1280}, "2": {}}}}}"#,
    );
    let text = VALID.replace("[next_hop]", "topology = \"topology.json\"\n[next_hop]");
    let outcome = workspace.check(text.replace(":31002", ":9"));
    outcome.rejected_with(&[
        "topology.json: topology: 1-ff00:0:110#1 is 127.0.0.1:31002 here and 127.0.0.1:9 in \
         x.toml:8; remove",
    ]);
    let outcome = workspace.check(text);
    assert!(
        outcome
            .success()
            .contains("next_hop.\"1-ff00:0:110#2\" = \"127.0.0.1:31002\""),
        "{}",
        outcome.out
    );
}

#[test]
fn settings_that_the_control_plane_refuses_are_rejected() {
    let workspace = Workspace::new();
    workspace.run(&["token", "--generate", "keys"]).success();
    let state = workspace.path("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o770)).unwrap();
    let settings = "\
control_plane = [\"127.0.0.1:8443\"]
control_plane_url = [\"https://snap.example.org/path\"]
endhost_api = \"http://127.0.0.1/?query\"
state_dir = \"state\"
public_address = [\"127.0.0.1:51820\"]
token_key = \"keys/public.pem\"
";
    workspace
        .check(format!("{settings}{VALID}"))
        .rejected_with(&[
            "x.toml:2: control_plane_url: https://snap.example.org/path is not a URL of a control plane: it must not",
            "x.toml:3: endhost_api: http://127.0.0.1/?query is not a URL of an endhost API: it must not",
            "x.toml:4: state_dir: state: users other than its owner can write to it (mode 0770), so they could",
        ]);
}

#[test]
fn too_many_workers_are_rejected_unless_unpinned() {
    let workspace = Workspace::new();
    let arguments = ["check", "--config", "valid.toml", "--workers", "1000"];
    workspace
        .run(&arguments)
        .rejected_with(&["--workers: 1000 workers exceed the CPUs"]);
    let outcome = workspace.run(&[arguments.as_slice(), &["--cpus", "none"]].concat());
    assert!(
        outcome.success().contains("workers = 1000 "),
        "{}",
        outcome.out
    );
}

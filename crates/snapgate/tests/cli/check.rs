//! `snapgate check`: good configurations explained, bad ones refused with every error.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::{GOOD, PUBLIC_KEY, Workspace};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_good_configuration_is_explained_with_where_it_came_from() {
    let outcome = Workspace::new().run(&["check", "--config", "good.toml", "--workers", "1"]);
    let lines: Vec<Vec<&str>> = outcome
        .good()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for expected in [
        ["listen", "127.0.0.1:0", "good.toml:3"].as_slice(),
        &["private_key_file", "private.key", "good.toml:1"],
        &["(public", "key", &format!("{PUBLIC_KEY})")],
        &[
            "identities",
            "identities.toml",
            "(1",
            "listed)",
            "good.toml:2",
        ],
        &[
            "next_hop",
            "1-ff00:0:110#1",
            "=",
            "127.0.0.1:31002",
            "good.toml:7",
        ],
        &["workers", "1", "(as", "configured)", "--workers"],
        &["dispatch", "kernel", "default"],
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected:?}\n{}",
            outcome.out
        );
    }
    assert_eq!(outcome.err, "");
}

#[test]
fn the_places_of_all_values_stand_in_one_column() {
    let outcome = Workspace::new().run(&["check", "--config", "good.toml"]);
    let columns: Vec<usize> = outcome
        .good()
        .lines()
        .filter_map(|line| {
            let place = line.rsplit("  ").next()?.trim_start();
            let is_place = place == "default" || place.starts_with("good.toml:");
            is_place.then(|| line.len() - place.len())
        })
        .collect();
    assert!(columns.len() > 20, "{}", outcome.out);
    assert!(
        columns.iter().all(|column| *column == columns[0]),
        "{}",
        outcome.out
    );
}

#[test]
fn json_says_the_same() {
    let outcome = Workspace::new().run(&[
        "check",
        "--json",
        "--config",
        "good.toml",
        "--receive-buffer",
        "1MiB",
    ]);
    let checked = json(outcome.good());
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["public_key"], PUBLIC_KEY);
    assert_eq!(checked["settings"]["receive_buffer"]["value"], 1 << 20);
    assert_eq!(
        checked["settings"]["receive_buffer"]["from"],
        "--receive-buffer"
    );
    assert_eq!(checked["settings"]["listen"]["value"][0], "127.0.0.1:0");
    assert_eq!(
        checked["settings"]["next_hop"]["value"]["1-ff00:0:110#1"],
        "127.0.0.1:31002"
    );
    assert_eq!(checked["settings"]["local_isd_as"]["from"], "default");
    assert_eq!(checked["settings"]["metrics"]["value"], Value::Null);
}

#[test]
fn warnings_do_not_fail_a_check() {
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
    outcome.good();
    let warnings: Vec<&str> = outcome.err.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains(
            "private.key can be read by others (mode 0644); run `chmod o-rwx private.key`"
        )
    );
    assert!(warnings[1].starts_with("warning: EVERYONE"), "{warnings:?}");

    let checked = workspace.run(&[arguments.as_slice(), &["--json"]].concat());
    assert_eq!(
        json(checked.good())["warnings"].as_array().unwrap().len(),
        2
    );
    assert_eq!(checked.err, "");
}

#[test]
fn nothing_is_refused_with_all_that_is_missing() {
    Workspace::new().run(&["check"]).refused_with(&[
        "private_key_file is not set; set it with --private-key-file, SNAPGATE_PRIVATE_KEY_FILE or",
        "nobody may open a tunnel; name those who may with --identities FILE, or let everyone in",
        "internal is not set; set it with --internal, SNAPGATE_INTERNAL or",
        "the local ISD-AS is not known; name it with --local-isd-as, a next hop or a topology",
    ]);
}

#[test]
fn every_error_is_listed_with_file_line_and_remedy() {
    let workspace = Workspace::new();
    workspace.write(
        "identities.toml",
        "[[identity]]\nname = \"nobody\"\n[[identity]]\npublic_key = \"AAAA\"\n",
    );
    let text = GOOD
        .replace("127.0.0.1:0", "localhost:1")
        .replace("127.0.0.1:31002", "127.0.0.1:0");
    let text = text.replace(
        "[next_hop]",
        "workers = \"some\"\nlisten_on = 1\nno_gso = 1\n[next_hop]",
    );
    workspace.check(text).refused_with(&[
        "identities.toml:1: this identity has no public_key; add",
        "identities.toml:4: public_key holds 3 bytes instead of 32; it has to be 32 bytes in \
         base64",
        "x.toml:3: listen: \"localhost:1\" is not an IP address with a port; write it like \
         192.0.2.1:51820",
        "x.toml:6: workers: \"some\" is neither a whole number from 1 to 1024 nor auto",
        "x.toml:7: unknown key \"listen_on\"; did you mean \"listen\"?",
        "x.toml:8: no_gso: true or false belongs here instead of an integer; write it like no_gso \
         = false",
        "x.toml:10: next_hop: 127.0.0.1:0 has port 0; give it the port it listens on",
    ]);
}

#[test]
fn json_lists_every_error_too() {
    let workspace = Workspace::new();
    workspace.write(
        "x.toml",
        GOOD.replace("internal =", "metrics = 7\ninternat ="),
    );
    let outcome = workspace.run(&["check", "--json", "--config", "x.toml"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(2), ""));
    let checked = json(&outcome.out);
    assert_eq!(checked["ok"], false);
    let errors = checked["errors"].as_array().unwrap();
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
fn files_that_cannot_be_used_are_named() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path("directory")).unwrap();
    for (file, error) in [
        (
            "missing.toml",
            "missing.toml: does not exist; check the path",
        ),
        ("directory", "directory: is a directory; name a file in it"),
    ] {
        workspace
            .run(&["check", "--config", file])
            .refused_with(&[error]);
    }
    workspace
        .check(b"listen = [\"\xff\"]\n")
        .refused_with(&["x.toml: is not UTF-8 text: byte 11 on line 1"]);
    workspace
        .check("listen = [\nworkers 2\n")
        .refused_with(&["x.toml:2: this is not TOML: "]);

    for (name, line) in [("private.key", 1), ("identities.toml", 2)] {
        for (file, fault) in [
            ("missing", "does not exist"),
            ("directory", "is a directory"),
        ] {
            let outcome = workspace.check(GOOD.replace(name, file));
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            let start = format!("error: x.toml:{line}: ");
            assert!(outcome.err.starts_with(&start), "{start}\n{outcome:?}");
            assert!(
                outcome.err.contains(&format!("{file} {fault}; ")),
                "{outcome:?}"
            );
            assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
        }
    }
}

/// Root may read everything, so this looks at what the binary says only where there is something to
/// say.
#[test]
fn a_file_that_may_not_be_read_is_named() {
    let workspace = Workspace::new();
    fs::set_permissions(
        workspace.path("private.key"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let outcome = workspace.run(&["check", "--config", "good.toml"]);
    match fs::read(workspace.path("private.key")) {
        Ok(_) => assert_eq!(outcome.code, Some(0), "{outcome:?}"),
        Err(_) => outcome.refused_with(&[
            "good.toml:1: private_key_file: private.key may not be read by this user",
        ]),
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    let workspace = Workspace::new();
    for (key, fault) in [
        ("", "is empty"),
        ("c2hvcnQ=", "holds 5 bytes instead of 32"),
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "holds 48 bytes instead of 32",
        ),
        ("[Interface]", "is not base64"),
    ] {
        workspace.write("private.key", key);
        workspace
            .run(&["check", "--config", "good.toml"])
            .refused_with(&[&format!(
                "good.toml:1: private_key_file: private.key {fault}; expected 32 bytes"
            )]);
    }
}

#[test]
fn a_topology_of_the_router_replaces_next_hops() {
    let workspace = Workspace::new();
    workspace.write(
        "topology.json",
        r#"{"isd_as": "1-ff00:0:110", "mtu": 1472, "border_routers":
            {"br1": {"internal_addr": "127.0.0.1:31002", "interfaces": {"1": {"mtu": 1280}, "2": {}}}}}"#,
    );
    let text = GOOD.replace("[next_hop]", "topology = \"topology.json\"\n[next_hop]");
    let outcome = workspace.check(text.replace(":31002", ":9"));
    outcome.refused_with(&[
        "topology.json: topology: 1-ff00:0:110#1 leads to 127.0.0.1:31002 here and to 127.0.0.1:9 \
         in x.toml:8; remove",
    ]);
    let outcome = workspace.check(text);
    assert!(
        outcome.good().contains("1-ff00:0:110#2 = 127.0.0.1:31002"),
        "{}",
        outcome.out
    );
}

#[test]
fn too_many_workers_are_refused_with_the_way_out() {
    let workspace = Workspace::new();
    let arguments = ["check", "--config", "good.toml", "--workers", "1000"];
    workspace
        .run(&arguments)
        .refused_with(&["--workers: 1000 workers are too many for the CPUs"]);
    let outcome = workspace.run(&[arguments.as_slice(), &["--cpus", "none"]].concat());
    assert!(
        outcome.good().contains("1000 (as configured)"),
        "{}",
        outcome.out
    );
}

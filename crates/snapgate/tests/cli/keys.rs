//! `snapgate genkey` and `snapgate pubkey`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::{Outcome, PRIVATE_KEY, PUBLIC_KEY, Workspace, mode_of};

#[test]
fn pubkey_is_that_of_wireguard() {
    let workspace = Workspace::new();
    // As the RFC has it, not clamped.
    let bob = "XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=";
    for (private, public) in [(PRIVATE_KEY, PUBLIC_KEY), (bob, crate::PEER)] {
        for input in [
            format!("{private}\n"),
            private.to_owned(),
            format!(" {private}\r\n\n"),
        ] {
            let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), &input);
            assert_eq!(outcome.good(), format!("{public}\n"));
        }
    }
}

#[test]
fn a_public_key_in_the_place_of_a_private_one_is_warned_of() {
    let workspace = Workspace::new();
    let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), PUBLIC_KEY);
    outcome.good();
    assert!(
        outcome
            .err
            .starts_with("warning: standard input holds a key that is not clamped"),
        "{outcome:?}"
    );
    workspace.write("private.key", PUBLIC_KEY);
    let outcome = workspace.run(&["check", "--config", "good.toml"]);
    outcome.good();
    let warning = "private.key holds a key that is not clamped, as private keys of WireGuard are: is it a public key?";
    assert!(outcome.err.contains(warning), "{outcome:?}");

    let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), PRIVATE_KEY);
    assert_eq!(
        (outcome.good(), outcome.err.as_str()),
        (format!("{PUBLIC_KEY}\n").as_str(), "")
    );
}

#[test]
fn what_is_no_private_key_has_no_public_key() {
    let workspace = Workspace::new();
    for (input, fault) in [
        ("", "is empty"),
        ("not a key\n", "is not base64"),
        ("c2hvcnQ=\n", "holds 5 bytes instead of 32"),
        (&format!("{PUBLIC_KEY}\n{PUBLIC_KEY}\n"), "is not base64"),
        (&"A".repeat(5000), "is larger than 4096 bytes"),
    ] {
        let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), input);
        outcome.refused_with(&[&format!("standard input {fault}")]);
    }
}

#[test]
fn genkey_makes_a_new_key_each_time() {
    let workspace = Workspace::new();
    let keys = [workspace.run(&["genkey"]), workspace.run(&["genkey"])];
    for key in &keys {
        assert_eq!((key.good().len(), key.err.as_str()), (45, ""));
        Outcome::of_input(workspace.snapgate(&["pubkey"]), &key.out).good();
    }
    assert_ne!(keys[0].out, keys[1].out);
}

#[test]
fn genkey_writes_a_file_for_its_owner_alone_and_prints_the_public_key() {
    let workspace = Workspace::new();
    let printed = workspace.run(&["genkey", "--output", "new.key"]);
    assert_eq!(mode_of(&workspace.path("new.key")), 0o600);
    let private = fs::read_to_string(workspace.path("new.key")).unwrap();
    let public = Outcome::of_input(workspace.snapgate(&["pubkey"]), &private);
    assert_eq!(printed.good(), public.good());
}

#[test]
fn genkey_never_overwrites_a_file() {
    let workspace = Workspace::new();
    let outcome = workspace.run(&["genkey", "--output", "private.key"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome
            .err
            .starts_with("error: private.key exists already and is not overwritten"),
        "{outcome:?}"
    );
    assert_eq!(
        fs::read_to_string(workspace.path("private.key")).unwrap(),
        format!("{PRIVATE_KEY}\n")
    );

    let outcome = workspace.run(&["genkey", "--output", "nowhere/new.key"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome
            .err
            .ends_with("cannot be written: its directory does not exist\n"),
        "{outcome:?}"
    );
}

#[test]
fn genkey_warns_when_others_can_read_where_it_prints() {
    let workspace = Workspace::new();
    let file = File::create(workspace.path("open.key")).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o644))
        .unwrap();
    let mut command = workspace.snapgate(&["genkey"]);
    let output = command.stdin(Stdio::null()).stdout(file).output().unwrap();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.starts_with("warning: standard output is a file that others can use (mode 0644)"),
        "{warning}"
    );
    assert_eq!(
        fs::read_to_string(workspace.path("open.key"))
            .unwrap()
            .len(),
        45
    );
}

#[test]
fn a_key_given_instead_of_its_file_is_not_shown() {
    let workspace = Workspace::new();
    for setting in [
        format!("--private-key-file={PRIVATE_KEY}"),
        format!("--private-key-file=some/directory/{PRIVATE_KEY}"),
    ] {
        let outcome = workspace.run(&["check", &setting, "--allow-any-identity"]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let said = &outcome.err;
        assert!(said.contains("is a key instead of the file"), "{said}");
        assert!(!said.contains(PRIVATE_KEY), "{said}");
    }
}

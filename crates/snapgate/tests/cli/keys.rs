//! `snapgate genkey` and `snapgate pubkey`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::{Outcome, PRIVATE_KEY, PUBLIC_KEY, Workspace, mode_of};

#[test]
fn pubkey_prints_the_same_keys_as_wireguard() {
    let workspace = Workspace::new();
    // Not clamped in RFC 7748.
    let bob = "XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=";
    for (private, public) in [(PRIVATE_KEY, PUBLIC_KEY), (bob, crate::PEER)] {
        for input in [
            format!("{private}\n"),
            private.to_owned(),
            format!(" {private}\r\n\n"),
        ] {
            let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), &input);
            assert_eq!(outcome.success(), format!("{public}\n"));
        }
    }
}

#[test]
fn public_key_instead_of_a_private_one_causes_a_warning() {
    let workspace = Workspace::new();
    let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), PUBLIC_KEY);
    outcome.success();
    assert!(
        outcome
            .err
            .starts_with("warning: standard input: the key is not clamped"),
        "{outcome:?}"
    );
    workspace.write("private.key", PUBLIC_KEY);
    let outcome = workspace.run(&["check", "--config", "valid.toml"]);
    outcome.success();
    assert!(
        outcome.err.contains("private.key: the key is not clamped"),
        "{outcome:?}"
    );

    let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), PRIVATE_KEY);
    assert_eq!(
        (outcome.success(), outcome.err.as_str()),
        (format!("{PUBLIC_KEY}\n").as_str(), "")
    );
}

#[test]
fn pubkey_rejects_invalid_private_keys() {
    let workspace = Workspace::new();
    for (input, fault) in [
        ("", "expected 32 bytes in base64, got an empty text"),
        ("not a key\n", "expected 32 bytes in base64, got other text"),
        ("c2hvcnQ=\n", "expected 32 bytes in base64, got 5"),
        (
            &format!("{PUBLIC_KEY}\n{PUBLIC_KEY}\n"),
            "expected 32 bytes in base64, got other text",
        ),
        (&"A".repeat(5000), "larger than 4096 bytes"),
    ] {
        let outcome = Outcome::of_input(workspace.snapgate(&["pubkey"]), input);
        outcome.rejected_with(&[&format!("standard input: {fault}")]);
    }
}

#[test]
fn genkey_prints_a_new_key_each_time() {
    let workspace = Workspace::new();
    let keys = [workspace.run(&["genkey"]), workspace.run(&["genkey"])];
    for key in &keys {
        assert_eq!((key.success().len(), key.err.as_str()), (45, ""));
        Outcome::of_input(workspace.snapgate(&["pubkey"]), &key.out).success();
    }
    assert_ne!(keys[0].out, keys[1].out);
}

#[test]
fn genkey_writes_a_file_with_mode_0600_and_prints_the_public_key() {
    let workspace = Workspace::new();
    let printed = workspace.run(&["genkey", "--output", "new.key"]);
    assert_eq!(mode_of(&workspace.path("new.key")), 0o600);
    let private = fs::read_to_string(workspace.path("new.key")).unwrap();
    let public = Outcome::of_input(workspace.snapgate(&["pubkey"]), &private);
    assert_eq!(printed.success(), public.success());
}

#[test]
fn genkey_never_overwrites_a_file() {
    let workspace = Workspace::new();
    let outcome = workspace.run(&["genkey", "--output", "private.key"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome
            .err
            .starts_with("error: private.key: already exists and is not overwritten"),
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
            .ends_with("cannot write: its directory does not exist\n"),
        "{outcome:?}"
    );
}

#[test]
fn genkey_warns_about_standard_output_to_a_readable_file() {
    let workspace = Workspace::new();
    let file = File::create(workspace.path("open.key")).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o644))
        .unwrap();
    let mut command = workspace.snapgate(&["genkey"]);
    let output = command.stdin(Stdio::null()).stdout(file).output().unwrap();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.starts_with(
            "warning: standard output is a file that other users can access (mode 0644)"
        ),
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
fn key_instead_of_its_file_is_rejected_and_not_printed() {
    let workspace = Workspace::new();
    for setting in [
        format!("--private-key-file={PRIVATE_KEY}"),
        format!("--private-key-file=some/directory/{PRIVATE_KEY}"),
    ] {
        let outcome = workspace.run(&["check", &setting, "--allow-any-identity"]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let error = &outcome.err;
        assert!(error.contains("expected a file name, got a key"), "{error}");
        assert!(!error.contains(PRIVATE_KEY), "{error}");
    }
}

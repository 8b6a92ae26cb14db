//! The file of identities of a running process changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use crossbeam_channel::TryRecvError;
use nix::sys::signal::Signal;

use crate::http::{get, sum};
use crate::process::Process;
use crate::workspace::{Workspace, identity, metrics};

fn scrape(process: &Process) -> String {
    get(metrics(process), "/metrics").1
}

#[test]
fn a_file_that_is_replaced_is_read_without_being_told() {
    let identities = [identity(), identity(), identity()];
    let [first, second, third] = &identities;
    let workspace = Workspace::new(&[first]);
    let mut process = workspace.start(&["--forward=echo"]);
    assert_eq!(sum(&scrape(&process), "snapgate_identities"), 1);

    workspace.list(&[second, third]);
    let changes = process.wait_for("identities.toml: ");
    assert_eq!(
        changes,
        "2 identities: 2 added, 1 removed, 0 with another expiry"
    );
    let mut client = workspace.connect(&process, second);
    client.send(b"new here");
    assert_eq!(client.receive(), b"new here");

    let text = fs::read_to_string(workspace.path("identities.toml")).unwrap();
    let expires = "expires = 2999-01-01T00:00:00Z\n";
    workspace.replace_identities(&(text + expires));
    let changes = process.wait_for("identities.toml: ");
    assert_eq!(
        changes,
        "2 identities: 0 added, 0 removed, 1 with another expiry"
    );
    assert_eq!(sum(&scrape(&process), "snapgate_identities"), 2);
}

#[test]
fn a_file_that_is_replaced_all_the_time_is_read() {
    let (first, second) = (identity(), identity());
    let workspace = Workspace::new(&[&first]);
    let mut process = workspace.start(&["--forward=echo"]);
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    thread::scope(|scope| {
        let workspace = &workspace;
        scope.spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                workspace.list(&[&second]);
            }
        });
        let changes = process.wait_for("identities.toml: ");
        drop(stop);
        assert_eq!(
            changes,
            "1 identities: 1 added, 1 removed, 0 with another expiry"
        );
    });
}

#[test]
fn a_link_that_is_swapped_in_a_directory_above_is_noticed() {
    let (first, second) = (identity(), identity());
    let workspace = Workspace::new(&[&first]);
    // As Kubernetes mounts a secret.
    for (version, identities) in [("v1", &[&first][..]), ("v2", &[&first, &second])] {
        workspace.list(identities);
        fs::create_dir(workspace.path(version)).unwrap();
        let versioned = workspace.path(version).join("identities.toml");
        fs::rename(workspace.path("identities.toml"), versioned).unwrap();
    }
    symlink("v1", workspace.path("data")).unwrap();
    symlink("data/identities.toml", workspace.path("identities.toml")).unwrap();
    let mut process = workspace.start(&["--forward=echo"]);

    symlink("v2", workspace.path("data_new")).unwrap();
    fs::rename(workspace.path("data_new"), workspace.path("data")).unwrap();
    let changes = process.wait_for("identities.toml: ");
    assert_eq!(
        changes,
        "2 identities: 1 added, 0 removed, 0 with another expiry"
    );
}

#[test]
fn a_file_with_faults_changes_nothing_and_says_all_that_is_wrong() {
    let first = identity();
    let workspace = Workspace::new(&[&first]);
    let mut process = workspace.start(&["--forward=echo"]);
    let mut client = workspace.connect(&process, &first);
    let successful = |process: &Process| {
        let text = scrape(process);
        let at = "snapgate_identities_last_reload_success_timestamp_seconds";
        assert!(sum(&text, at) > 1_600_000_000);
        sum(&text, "snapgate_identities_last_reload_successful")
    };
    assert_eq!(successful(&process), 1);

    workspace.replace_identities(&"[[identity]]\n".repeat(133));
    process.wait_for("identities.toml:1: this identity has no public_key; add public_key");
    process.wait_for("identities.toml:10: ");
    process.wait_for("and 123 more like that");
    process.wait_for("the 1 identities from before stay in force");
    assert_eq!(successful(&process), 0);
    client.send(b"still here");
    assert_eq!(client.receive(), b"still here");

    fs::remove_file(workspace.path("identities.toml")).unwrap();
    process.wait_for("identities.toml: does not exist; check the path");
    client.send(b"and here");
    assert_eq!(client.receive(), b"and here");

    workspace.list(&[&first]);
    process.wait_for("identities.toml: 1 identities, as before");
    assert_eq!(successful(&process), 1);
}

#[test]
fn sighup_reads_the_file_again_though_it_has_not_changed() {
    let first = identity();
    let workspace = Workspace::new(&[&first]);
    let mut process = workspace.start(&["--forward=echo"]);
    for _ in 0..2 {
        process.signal(Signal::SIGHUP);
        process.wait_for("reloading the identities; other settings take a restart");
        process.wait_for("identities.toml: 1 identities, as before");
    }
}

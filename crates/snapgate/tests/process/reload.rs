//! Changes of the identities file while the process runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::TryRecvError;
use nix::sys::signal::Signal;
use testkit::{GatewayProcess, identity};

use crate::gateway;

#[test]
fn a_replaced_file_is_reloaded() {
    let identities = [identity(), identity(), identity()];
    let [first, second, third] = &identities;
    let setup = gateway().identities(&[first]);
    let mut gateway = setup.start();
    assert_eq!(gateway.metrics().sum("snapgate_identities"), 1);

    setup.replace_identities(&[second, third]);
    let changes = gateway.wait_for_log("identities reloaded file=identities.toml ");
    assert_eq!(changes, "identities=2 added=2 removed=1 expiry_changed=0");
    let mut client = gateway.connect(second);
    client.send(b"new here");
    assert_eq!(client.receive(), b"new here");

    let text = fs::read_to_string(setup.path("identities.toml")).unwrap();
    let expires = "expires = 2999-01-01T00:00:00Z\n";
    setup.replace_identities_file(&(text + expires));
    let changes = gateway.wait_for_log("identities reloaded file=identities.toml ");
    assert_eq!(changes, "identities=2 added=0 removed=0 expiry_changed=1");
    assert_eq!(gateway.metrics().sum("snapgate_identities"), 2);
}

#[test]
fn a_constantly_replaced_file_is_reloaded() {
    let (first, second) = (identity(), identity());
    let setup = gateway().identities(&[&first]);
    let mut gateway = setup.start();
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    thread::scope(|scope| {
        let setup = &setup;
        scope.spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                setup.replace_identities(&[&second]);
            }
        });
        let changes = gateway.wait_for_log("identities reloaded file=identities.toml ");
        drop(stop);
        assert_eq!(changes, "identities=1 added=1 removed=1 expiry_changed=0");
    });
}

#[test]
fn a_link_swapped_in_a_parent_directory_causes_a_reload() {
    let (first, second) = (identity(), identity());
    let setup = gateway().identities(&[&first]);
    // As Kubernetes mounts a secret.
    for (version, identities) in [("v1", &[&first][..]), ("v2", &[&first, &second])] {
        setup.replace_identities(identities);
        fs::create_dir(setup.path(version)).unwrap();
        let versioned = setup.path(version).join("identities.toml");
        fs::rename(setup.path("identities.toml"), versioned).unwrap();
    }
    symlink("v1", setup.path("data")).unwrap();
    symlink("data/identities.toml", setup.path("identities.toml")).unwrap();
    let mut gateway = setup.start();

    symlink("v2", setup.path("data_new")).unwrap();
    fs::rename(setup.path("data_new"), setup.path("data")).unwrap();
    let changes = gateway.wait_for_log("identities reloaded file=identities.toml ");
    assert_eq!(changes, "identities=2 added=1 removed=0 expiry_changed=0");
}

#[test]
fn an_invalid_file_changes_nothing_and_its_faults_are_logged() {
    let first = identity();
    let setup = gateway().identities(&[&first]);
    let mut gateway = setup.start();
    let mut client = gateway.connect(&first);
    let successful = |gateway: &GatewayProcess| {
        let metrics = gateway.metrics();
        let at = "snapgate_identities_last_reload_success_timestamp_seconds";
        assert!(metrics.sum(at) > 1_600_000_000);
        metrics.sum("snapgate_identities_last_reload_successful")
    };
    assert_eq!(successful(&gateway), 1);

    setup.replace_identities_file(&"[[identity]]\n".repeat(133));
    let invalid = "invalid identities file file=identities.toml";
    gateway.wait_for_log(&format!(
        "{invalid} line=1 error=\"identity without public_key; add public_key"
    ));
    gateway.wait_for_log(&format!("{invalid} line=10 error="));
    gateway.wait_for_log("more faults in identities file file=identities.toml omitted=123");
    gateway.wait_for_log("previous identities stay in force file=identities.toml identities=1");
    assert_eq!(successful(&gateway), 0);
    client.send(b"still here");
    assert_eq!(client.receive(), b"still here");

    fs::remove_file(setup.path("identities.toml")).unwrap();
    gateway.wait_for_log(&format!("{invalid} error=\"not found; check the path"));
    client.send(b"and here");
    assert_eq!(client.receive(), b"and here");

    setup.replace_identities(&[&first]);
    gateway.wait_for_log("identities reloaded file=identities.toml identities=1 added=0 removed=0");
    assert_eq!(successful(&gateway), 1);
}

#[test]
fn sighup_reloads_an_unchanged_file() {
    let first = identity();
    let setup = gateway().identities(&[&first]);
    let mut gateway = setup.start();
    for _ in 0..2 {
        gateway.signal(Signal::SIGHUP);
        gateway.wait_for_log("reloading identities");
        gateway.wait_for_log(
            "identities reloaded file=identities.toml identities=1 added=0 removed=0",
        );
    }
}

#[test]
fn anything_but_a_regular_file_changes_nothing() {
    let (first, second) = (identity(), identity());
    let setup = gateway().identities(&[&first]);
    let mut gateway = setup.start();
    let file = setup.path("identities.toml");
    type Replace = fn(&Path);
    let replacements: [(Replace, &str); 4] = [
        (|file| fs::create_dir(file).unwrap(), "is a directory"),
        (|file| symlink("/dev/null", file).unwrap(), "got a device"),
        (|file| symlink("loop", file).unwrap(), "not found"),
        (
            |file| symlink("identities.toml", file).unwrap(),
            "levels of symbolic links",
        ),
    ];
    for (replace, fault) in replacements {
        setup.replace_identities(&[&first]);
        gateway.wait_for_log("identities reloaded");
        fs::remove_file(&file).unwrap();
        replace(&file);
        gateway.wait_for_log(fault);
        gateway.wait_for_log("previous identities stay in force");
        if file.is_dir() {
            fs::remove_dir(&file).unwrap();
        }
    }
    setup.replace_identities(&[&second]);
    gateway.wait_for_log("identities=1 added=1 removed=1 ");
}

#[test]
fn a_file_with_the_length_and_the_time_of_the_previous_one_is_reloaded() {
    let text_of_another = || {
        let setup = gateway().identities(&[&identity()]);
        fs::read_to_string(setup.path("identities.toml")).unwrap()
    };
    let setup = gateway().identities(&[&identity()]);
    let file = setup.path("identities.toml");
    let before = fs::metadata(&file).unwrap();
    let modified = before.modified().unwrap();
    let mut gateway = setup.start();
    let hour = Duration::from_secs(3600);
    for time in [modified, modified - hour, modified + hour] {
        fs::write(&file, text_of_another()).unwrap();
        let file = fs::File::options().write(true).open(&file).unwrap();
        file.set_modified(time).unwrap();
        assert_eq!(file.metadata().unwrap().len(), before.len());
        let changes = gateway.wait_for_log("identities reloaded file=identities.toml ");
        assert_eq!(changes, "identities=1 added=1 removed=1 expiry_changed=0");
    }
}

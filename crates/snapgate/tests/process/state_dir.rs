//! Processes with a state directory. The package `snapgate-interop` tests with real clients that they are served at
//! once after a restart.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{GatewayProcess, GatewaySetup, children, identity, own_address, wait_until};

use crate::gateway;

fn with_state_dir() -> GatewaySetup {
    let setup = gateway().argument("--state-dir=state");
    fs::create_dir(setup.path("state")).unwrap();
    setup
}

#[test]
fn two_gateways_cannot_share_a_directory() {
    let setup = with_state_dir();
    let gateway = setup.start();
    let other = setup.clone().listen(own_address()).spawn().wait();
    assert_eq!(other.code, Some(1), "{other:?}");
    let error = "error: the state directory state is in use by another snapgate; stop it, or use another directory";
    assert!(other.log.contains(error), "{other:?}");

    // A killed process releases the directory.
    drop(gateway);
    let gateway = setup.start();
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_damaged_file_is_set_aside_with_a_warning() {
    let setup = with_state_dir();
    fs::write(setup.path("state/tunnels"), "garbage").unwrap();
    let mut gateway = setup.start();
    gateway.wait_for_log(
        "unusable state file set aside file=state/tunnels error=\"not a snapgate state file\" \
         moved_to=state/tunnels.aside-",
    );
    // The process ends after its last commit.
    gateway.signal(Signal::SIGINT);
    gateway.wait();
    assert!(
        fs::read(setup.path("state/tunnels"))
            .unwrap()
            .starts_with(b"snapgate")
    );
}

#[test]
fn a_removed_state_file_is_written_again() {
    let setup = with_state_dir();
    let mut gateway = setup.start();
    let _client = gateway.connect(&identity());
    gateway.wait_for_metrics("the tunnel is in the file", |metrics| {
        metrics.sum("snapgate_state_records") == 1
    });
    fs::remove_file(setup.path("state/tunnels")).unwrap();
    gateway.wait_for_log("state file or its lock removed or replaced, writing it again file=");
    wait_until("the file is written again", || {
        setup.path("state/tunnels").exists().then_some(())
    });
    assert_eq!(gateway.metrics().sum("snapgate_state_file_losses_total"), 1);
    gateway.kill();
    let mut gateway = setup.start();
    gateway.wait_for_log("tunnels of previous process loaded tunnels=1");
}

#[test]
fn a_replaced_directory_is_used_and_locked_again() {
    let setup = with_state_dir();
    let mut gateway = setup.start();
    let _client = gateway.connect(&identity());
    gateway.wait_for_metrics("the tunnel is in the file", |metrics| {
        metrics.sum("snapgate_state_records") == 1
    });
    fs::rename(setup.path("state"), setup.path("moved")).unwrap();
    let log = gateway.wait_for_log("cannot write state file file=state/tunnels ");
    assert!(log.contains("No such file or directory"), "{log}");
    fs::create_dir(setup.path("state")).unwrap();
    gateway.wait_for_log("state file writable again");
    let other = setup.clone().listen(own_address()).spawn().wait();
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other.log.contains("is in use by another snapgate"),
        "{other:?}"
    );
    gateway.kill();
    let mut gateway = setup.start();
    gateway.wait_for_log("tunnels of previous process loaded tunnels=1");
}

/// Returns the process that a gateway has started for a task.
pub(crate) fn file_process(gateway: &GatewayProcess, task: &str) -> Option<Pid> {
    children(gateway.pid(), &["serve-files", task])
        .first()
        .copied()
}

#[test]
fn a_killed_file_process_is_replaced() {
    let client = identity();
    let setup = with_state_dir().identities(&[&client]);
    let mut gateway = setup.start();
    // Both processes have answered.
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for_log("identities reloaded");
    for task in ["state", "identities"] {
        let process = wait_until("a file process", || file_process(&gateway, task));
        // Neither the service manager nor a terminal ends it.
        kill(process, Signal::SIGTERM).unwrap();
        kill(process, Signal::SIGINT).unwrap();
        assert_eq!(file_process(&gateway, task), Some(process));
        kill(process, Signal::SIGKILL).unwrap();
        let next = wait_until("another file process", || {
            file_process(&gateway, task).filter(|next| *next != process)
        });
        assert_ne!(next, process);
    }
    let _client = gateway.connect(&client);
    gateway.wait_for_metrics("the tunnel is in the file", |metrics| {
        metrics.sum("snapgate_state_records") == 1
    });
    let other = setup.clone().listen(own_address()).spawn().wait();
    assert!(
        other.log.contains("is in use by another snapgate"),
        "{other:?}"
    );
    setup.replace_identities(&[]);
    gateway.wait_for_log("identities reloaded file=identities.toml identities=0 added=0 removed=1");
}

//! Processes that keep their tunnels in a directory. That clients are served at once after a restart is
//! tested with real ones, in the package `snapgate-interop`.

use std::fs;

use nix::sys::signal::Signal;
use testkit::{GatewaySetup, own_address};

use crate::gateway;

fn with_state_dir() -> GatewaySetup {
    let setup = gateway().argument("--state-dir=state");
    fs::create_dir(setup.path("state")).unwrap();
    setup
}

#[test]
fn two_gateways_cannot_have_one_directory() {
    let setup = with_state_dir();
    let gateway = setup.start();
    let other = setup.clone().listen(own_address()).spawn().wait();
    assert_eq!(other.code, Some(1), "{other:?}");
    let error = "error: another snapgate uses the state directory state; stop it, or give each a";
    assert!(other.log.contains(error), "{other:?}");

    // One that was killed does not have it any more.
    drop(gateway);
    let gateway = setup.start();
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_damaged_file_is_set_aside_with_a_warning_and_the_gateway_starts() {
    let setup = with_state_dir();
    fs::write(setup.path("state/tunnels"), "garbage").unwrap();
    let mut gateway = setup.start();
    gateway.wait_for_log(
        "the state file state/tunnels cannot be used: it is no state file of snapgate; it is now \
         state/tunnels.aside-",
    );
    // The end of the process comes behind its last commit.
    gateway.signal(Signal::SIGINT);
    gateway.wait();
    assert!(
        fs::read(setup.path("state/tunnels"))
            .unwrap()
            .starts_with(b"snapgate")
    );
}

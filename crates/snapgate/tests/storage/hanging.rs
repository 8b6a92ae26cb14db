//! Storage that does not answer. A thread that waits for it cannot be killed (state D in ps(1)).

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::{GatewayProcess, Operation, identity, may_mount, wait_until};

use crate::{OnFuse, gateway};

/// Longer than the time in which a second SIGTERM is a duplicate of the first.
const BETWEEN_SIGTERMS: Duration = Duration::from_secs(1);

/// Waits until the gateway has connected a client, whose tunnel is a change of the state file.
fn connect(gateway: &GatewayProcess) -> testkit::Client {
    let mut client = gateway.connect(&identity());
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
    client
}

#[test]
fn a_signal_ends_a_gateway_whose_state_directory_hangs() {
    if !may_mount("a_signal_ends_a_gateway_whose_state_directory_hangs") {
        return;
    }
    for (operation, signal) in [
        (Operation::Write, Signal::SIGTERM),
        (Operation::Write, Signal::SIGINT),
        (Operation::Fsync, Signal::SIGINT),
        (Operation::Rename, Signal::SIGINT),
        (Operation::Create, Signal::SIGINT),
        (Operation::Lookup, Signal::SIGINT),
    ] {
        let setup = gateway().argument("--drain-idle-seconds=1");
        let OnFuse {
            _mounts,
            gateway,
            fuse,
        } = OnFuse::with_state(setup.clone());
        let mut client = connect(&gateway);
        fuse.hold(&[operation]);
        fuse.wait_until_held();
        client.send(b"still here");
        assert_eq!(client.receive(), b"still here");
        gateway.signal(signal);
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0), "{operation:?} {ended:?}");
        let warning = "state directory not responding, latest changes not written";
        assert!(ended.log.contains(warning), "{operation:?} {ended:?}");

        // Its addresses are free for the next process.
        let next = setup.start();
        next.signal(Signal::SIGINT);
        assert_eq!(next.wait().code, Some(0));
        drop(fuse);
    }
}

#[test]
fn a_signal_ends_a_gateway_whose_accounting_log_hangs() {
    if !may_mount("a_signal_ends_a_gateway_whose_accounting_log_hangs") {
        return;
    }
    for operation in [Operation::Write, Operation::Open, Operation::Lookup] {
        let (removed, other) = (identity(), identity());
        let setup = gateway().identities(&[&removed, &other]);
        let OnFuse {
            _mounts,
            gateway,
            fuse,
        } = OnFuse::with_accounting_log(setup);
        let mut client = gateway.connect(&other);
        // Afterwards the gateway knows that the client uses the tunnel.
        let mut removed = gateway.connect(&removed);
        removed.send(b"counted");
        assert_eq!(removed.receive(), b"counted");
        fuse.hold(&[operation]);
        gateway.replace_identities(&[&other]);
        fuse.wait_until_held();
        client.send(b"still here");
        assert_eq!(client.receive(), b"still here");
        gateway.signal(Signal::SIGINT);
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0), "{operation:?} {ended:?}");
        let warning = "accounting log not responding, latest records not written";
        assert!(ended.log.contains(warning), "{operation:?} {ended:?}");
        drop(fuse);
    }
}

#[test]
fn a_second_sigterm_ends_a_drain_while_storage_hangs() {
    if !may_mount("a_second_sigterm_ends_a_drain_while_storage_hangs") {
        return;
    }
    let setup = gateway()
        .argument("--drain-idle-seconds=3600")
        .argument("--drain-timeout-seconds=3600");
    let OnFuse {
        _mounts,
        gateway,
        fuse,
    } = OnFuse::with_state(setup);
    let mut client = connect(&gateway);
    fuse.hold(&[Operation::Write, Operation::Fsync]);
    fuse.wait_until_held();
    gateway.signal(Signal::SIGTERM);
    wait_until("it drains", || {
        (gateway.get("/readyz").1 == "draining\n").then_some(())
    });
    thread::sleep(BETWEEN_SIGTERMS);
    client.send(b"still here");
    assert_eq!(client.receive(), b"still here");
    gateway.signal(Signal::SIGTERM);
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    drop(fuse);
}

#[test]
fn a_gateway_continues_to_write_when_its_storage_answers_again() {
    if !may_mount("a_gateway_continues_to_write_when_its_storage_answers_again") {
        return;
    }
    let OnFuse {
        _mounts,
        gateway,
        fuse,
    } = OnFuse::with_state(gateway());
    fuse.hold(&[Operation::Fsync]);
    let _client = connect(&gateway);
    fuse.wait_until_held();
    fuse.release();
    gateway.wait_for_metrics("the tunnel is in the file", |metrics| {
        metrics.sum("snapgate_state_records") == 1
    });
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
    assert!(fuse.content("tunnels").unwrap().starts_with(b"snapgate"));
}

#[test]
fn a_signal_ends_a_gateway_whose_identities_file_hangs() {
    if !may_mount("a_signal_ends_a_gateway_whose_identities_file_hangs") {
        return;
    }
    for operation in [Operation::Lookup, Operation::Open, Operation::GetAttr] {
        let client = identity();
        let setup = gateway().identities(&[&client]);
        let OnFuse {
            _mounts,
            mut gateway,
            fuse,
        } = OnFuse::with_identities(setup, 0);
        let mut client = gateway.connect(&client);
        fuse.hold(&[operation]);
        fuse.wait_until_held();
        gateway.wait_for_log("identities file not checked overdue=");
        client.send(b"still here");
        assert_eq!(client.receive(), b"still here");
        gateway.signal(Signal::SIGINT);
        assert_eq!(gateway.wait().code, Some(0), "{operation:?}");
        drop(fuse);
    }
}

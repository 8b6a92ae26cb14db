//! Storage that does not answer. A thread that waits for it cannot be killed (state D in ps(1)).

use std::fs::{self, File};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use testkit::{
    Client, Fuse, GatewayProcess, Mounts, Operation, children, identity, may_mount, wait_until,
};

use crate::{OnFuse, gateway};

/// Longer than the time in which a second SIGTERM is a duplicate of the first.
const BETWEEN_SIGTERMS: Duration = Duration::from_secs(1);

/// Waits until the gateway has connected a client, whose tunnel is a change of the state file.
fn connect(gateway: &GatewayProcess) -> Client {
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

/// Drains while a client uses its tunnel, until a second SIGTERM ends the process.
fn drain_until_a_second_sigterm(gateway: GatewayProcess, client: &mut Client) {
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
    drain_until_a_second_sigterm(gateway, &mut client);
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

/// What writing to a file or closing it waits for.
const OUTPUT: [Operation; 5] = [
    Operation::Write,
    Operation::GetAttr,
    Operation::Fsync,
    Operation::Flush,
    Operation::Release,
];

/// Waits until a file has a text.
fn wait_for_text(fuse: &Fuse, name: &str, text: &str) {
    wait_until(&format!("{text:?} in {name}"), || {
        let content = fuse.content(name)?;
        String::from_utf8_lossy(&content)
            .contains(text)
            .then_some(())
    });
}

/// Waits until a line of the log is being written.
fn hold_output(gateway: &GatewayProcess, fuse: &Fuse) {
    wait_for_text(fuse, "log", "serving metrics url=");
    fuse.hold(&OUTPUT);
    gateway.signal(Signal::SIGHUP);
    fuse.wait_until_held();
}

#[test]
fn a_signal_ends_a_gateway_whose_log_and_summary_hang() {
    if !may_mount("a_signal_ends_a_gateway_whose_log_and_summary_hang") {
        return;
    }
    for (signal, farewell) in [
        (Signal::SIGTERM, "drained"),
        (Signal::SIGINT, "stopping signal=SIGINT"),
    ] {
        let setup = gateway().argument("--drain-idle-seconds=1");
        let OnFuse {
            _mounts,
            gateway,
            fuse,
        } = OnFuse::with_streams(&setup);
        hold_output(&gateway, &fuse);
        let _client = connect(&gateway);
        gateway.signal(signal);
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0), "{signal} {ended:?}");

        // Its addresses are free for the next process.
        let next = setup.start();
        next.signal(Signal::SIGINT);
        assert_eq!(next.wait().code, Some(0));

        // All that the gateway has logged is written when the storage answers.
        fuse.release();
        wait_for_text(&fuse, "log", farewell);
        wait_for_text(&fuse, "output", "Ran for ");
    }
}

#[test]
fn a_second_sigterm_ends_a_drain_while_the_log_hangs() {
    if !may_mount("a_second_sigterm_ends_a_drain_while_the_log_hangs") {
        return;
    }
    let setup = gateway()
        .argument("--drain-idle-seconds=3600")
        .argument("--drain-timeout-seconds=3600");
    let OnFuse {
        _mounts,
        gateway,
        fuse,
    } = OnFuse::with_streams(&setup);
    hold_output(&gateway, &fuse);
    let mut client = connect(&gateway);
    drain_until_a_second_sigterm(gateway, &mut client);
    drop(fuse);
}

#[test]
fn lines_beyond_the_queue_are_dropped_while_the_log_hangs_and_counted() {
    if !may_mount("lines_beyond_the_queue_are_dropped_while_the_log_hangs_and_counted") {
        return;
    }
    // The queue of the log has room for one message with this key.
    let key = "x".repeat(600 << 10);
    let client = identity();
    let setup = gateway().identities(&[&client]);
    let OnFuse {
        _mounts,
        gateway,
        fuse,
    } = OnFuse::with_streams(&setup);
    hold_output(&gateway, &fuse);
    let mut versions = 0..;
    wait_until("a dropped line", || {
        let version = versions.next()?;
        setup.replace_identities_file(&format!("{key} = {version}\n"));
        let dropped = gateway.metrics().sum("snapgate_log_lines_dropped_total");
        (dropped > 0).then_some(())
    });
    let mut client = gateway.connect(&client);
    client.send(b"still here");
    assert_eq!(client.receive(), b"still here");

    fuse.release();
    setup.replace_identities(&[]);
    wait_for_text(&fuse, "log", "log lines dropped lines=");
    wait_for_text(&fuse, "log", "identities=0 added=0 removed=1");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_process_that_cannot_start_waits_until_the_reason_is_in_its_log() {
    if !may_mount("a_process_that_cannot_start_waits_until_the_reason_is_in_its_log") {
        return;
    }
    let setup = gateway();
    let _first = setup.start();
    let mounts = Mounts::new();
    let disk = setup.path("disk");
    let fuse = Fuse::mount(&mounts, &disk, 0);
    let log = mounts.run(|| File::create(disk.join("log")).unwrap());
    fuse.hold(&[Operation::Write]);
    let mut command = setup.command();
    let mut second = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    drop(command);
    fuse.wait_until_held();
    wait_until("it waits for the end of its log", || {
        // For 3 s.
        assert_eq!(second.try_wait().unwrap(), None);
        let pid = Pid::from_raw(second.id().cast_signed());
        let writer = children(pid, &["write-output", "text"])[0];
        let [log, pipe] = [(pid, 2), (writer, 0)].map(|(process, descriptor)| {
            fs::read_link(format!("/proc/{process}/fd/{descriptor}")).ok()
        });
        (log? != pipe?).then_some(())
    });
    fuse.release();
    assert_eq!(second.wait().unwrap().code(), Some(1));
    let log = String::from_utf8(fuse.content("log").unwrap()).unwrap();
    let last = log.lines().last().unwrap();
    assert!(last.contains("is already in use"), "{log}");
}

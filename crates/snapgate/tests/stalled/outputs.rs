//! Standard error, standard output, notifications and HTTP responses that are not read.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use testkit::{PATIENCE, identity, wait_until};

use crate::gateway;
use crate::stall::{Stalled, full_notify_socket, idle_connections};

/// Longer than the time in which a second SIGTERM is a duplicate of the first.
const BETWEEN_SIGTERMS: Duration = Duration::from_secs(1);

#[test]
fn a_gateway_enforces_authorization_while_all_readers_stall() {
    let (kept, removed) = (identity(), identity());
    let setup = gateway()
        .identities(&[&kept, &removed])
        .argument("--drain-idle-seconds=3600")
        .argument("--drain-timeout-seconds=3600");
    let notify = setup.path("notify");
    let manager = full_notify_socket(&notify);
    let gateway = Stalled::start(
        &setup
            .clone()
            .environment("NOTIFY_SOCKET", notify.to_str().unwrap()),
    );
    let mut served = gateway.process.connect(&kept);
    let mut cut_off = gateway.process.connect(&removed);
    let _idle = idle_connections(gateway.process.metrics_address(), 300);
    assert_eq!(gateway.probe("/livez"), "ok\n");
    assert_eq!(gateway.probe("/readyz"), "ok\n");

    // The identities file is a pipe for a while.
    let pipe = setup.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fs::rename(&pipe, setup.path("identities.toml")).unwrap();
    gateway.wait_for_metrics("the pipe is refused", |metrics| {
        metrics.sum("snapgate_identities_last_reload_successful") == 0
    });
    cut_off.send(b"before");
    assert_eq!(cut_off.receive(), b"before");
    for _ in 0..100 {
        gateway.process.signal(Signal::SIGHUP);
    }

    setup.replace_identities(&[&kept]);
    gateway.wait_for_metrics("the identity is revoked", |metrics| {
        metrics.sum_where("snapgate_tunnel_changes_total", &[("change", "revoked")]) == 1
    });
    cut_off.send(b"after");
    served.send(b"still here");
    assert_eq!(served.receive(), b"still here");
    assert_eq!(cut_off.discard_received(), 0);

    gateway.process.signal(Signal::SIGTERM);
    wait_until("it drains", || {
        (gateway.probe("/readyz") == "draining\n").then_some(())
    });
    assert_eq!(gateway.probe("/livez"), "ok\n");
    thread::sleep(BETWEEN_SIGTERMS);
    served.send(b"still here");
    assert_eq!(served.receive(), b"still here");
    gateway.process.signal(Signal::SIGTERM);
    assert_eq!(gateway.process.wait().code, Some(0));
    drop(manager);
}

#[test]
fn sigint_ends_a_gateway_whose_outputs_are_not_read() {
    let gateway = Stalled::start(&gateway());
    gateway.process.signal(Signal::SIGINT);
    assert_eq!(gateway.process.wait().code, Some(0));
}

#[test]
fn the_log_reports_dropped_lines_when_it_is_read_again() {
    let setup = gateway().identities(&[&identity()]);
    let mut gateway = Stalled::start(&setup);
    // A message with this key is longer than the outbox of the log.
    let key = "x".repeat(2 << 20);
    fs::write(setup.path("identities.toml"), format!("{key} = 1\n")).unwrap();
    gateway.wait_for_metrics("a line is dropped", |metrics| {
        metrics.sum("snapgate_log_lines_dropped_total") > 0
    });
    gateway.read_log_until("log lines dropped lines=1");
}

#[test]
fn a_service_manager_at_an_abstract_socket_is_notified_while_workers_take_turns() {
    let name = format!("snapgate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let _gateway = gateway()
        .environment("NOTIFY_SOCKET", format!("@{name}"))
        .environment("WATCHDOG_USEC", "1000000")
        .start();
    let receive = || {
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    assert_eq!(receive(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(receive(), "WATCHDOG=1\n");
    }
}

//! Nobody reads standard error, standard output, the notifications and the HTTP responses.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::client::{Client, PATIENCE};
use crate::process::Process;
use crate::stall::{Stalled, full_notify_socket, idle_connections, wait_until};
use crate::workspace::{Workspace, identity};

const ECHO: [&str; 3] = [
    "--forward=echo",
    "--drain-idle-seconds=3600",
    "--drain-timeout-seconds=3600",
];

/// Longer than the time in which a second SIGTERM is a duplicate of the first.
const BETWEEN_SIGTERMS: Duration = Duration::from_secs(1);

fn revoked(gateway: &Stalled) -> bool {
    let (_, text) = gateway.probe("/metrics");
    text.lines()
        .any(|line| line.contains("change=\"revoked\"") && line.ends_with(" 1"))
}

#[test]
fn a_gateway_enforces_while_everything_around_it_stalls() {
    let (kept, removed) = (identity(), identity());
    let workspace = Workspace::new(&[&kept, &removed]);
    let manager = full_notify_socket(&workspace.path("notify"));
    let mut command = workspace.command(&ECHO);
    command.env("NOTIFY_SOCKET", workspace.path("notify"));
    let gateway = Stalled::start(command);
    let connect =
        |identity| Client::connect_as(identity, "127.0.0.1:0", gateway.listen, &workspace.key);
    let mut served = connect(kept.clone());
    let mut cut_off = connect(removed);
    let _idle = idle_connections(gateway.metrics, 300);
    assert_eq!(gateway.probe("/livez").1, "ok\n");
    assert_eq!(gateway.probe("/readyz").1, "ok\n");

    // The identities file is a pipe for a while.
    let pipe = workspace.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fs::rename(&pipe, workspace.path("identities.toml")).unwrap();
    let successful = "snapgate_identities_last_reload_successful";
    wait_until("the pipe is refused", || gateway.metric(successful) == 0);
    cut_off.send(b"before");
    assert_eq!(cut_off.receive(), b"before");
    for _ in 0..100 {
        gateway.signal(Signal::SIGHUP);
    }

    workspace.list(&[&kept]);
    wait_until("the identity is revoked", || revoked(&gateway));
    cut_off.send(b"after");
    served.send(b"still here");
    assert_eq!(served.receive(), b"still here");
    assert_eq!(cut_off.discard_received(), 0);

    gateway.signal(Signal::SIGTERM);
    wait_until("it drains", || gateway.probe("/readyz").1 == "draining\n");
    assert_eq!(gateway.probe("/livez").1, "ok\n");
    thread::sleep(BETWEEN_SIGTERMS);
    served.send(b"still here");
    assert_eq!(served.receive(), b"still here");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.end().code(), Some(0));
    drop(manager);
}

#[test]
fn sigint_ends_a_gateway_whose_outputs_nobody_reads() {
    let workspace = Workspace::open();
    let gateway = Stalled::start(workspace.command(&["--forward=echo"]));
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn a_log_that_is_read_again_says_that_lines_are_missing() {
    let workspace = Workspace::new(&[&identity()]);
    let mut gateway = Stalled::start(workspace.command(&["--forward=echo"]));
    // A complaint that names this key is longer than all that may wait to be written.
    let key = "x".repeat(2 << 20);
    fs::write(workspace.path("identities.toml"), format!("{key} = 1\n")).unwrap();
    wait_until("a line is dropped", || {
        gateway.metric("snapgate_log_lines_dropped_total") > 0
    });
    gateway.read_log_until("log lines dropped, because standard error was not read: 1");
}

#[test]
fn a_service_manager_at_an_abstract_socket_is_notified_while_workers_take_turns() {
    let name = format!("snapgate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let workspace = Workspace::open();
    let mut command = workspace.command(&["--forward=echo"]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    command.env("WATCHDOG_USEC", "1000000");
    let _process = Process::start(command);
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

//! What the process tells a service manager.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::client::PATIENCE;
use crate::process::Process;
use crate::workspace::{Workspace, identity};

/// The next notification.
fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn a_service_manager_hears_of_the_start_a_reload_and_the_end() {
    let (first, second) = (identity(), identity());
    let workspace = Workspace::new(&[&first]);
    let path = workspace.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = workspace.command(&["--forward=echo"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut process = Process::start(command);
    assert_eq!(receive(&socket), "READY=1\n");

    process.signal(Signal::SIGHUP);
    let reloading = receive(&socket);
    let microseconds = reloading
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap_or_else(|| panic!("{reloading}"));
    assert!(microseconds.trim().parse::<u64>().unwrap() > 0);
    let status = "STATUS=identities.toml: 1 identities, as before\n";
    assert_eq!(receive(&socket), format!("READY=1\n{status}"));

    workspace.list(&[&first, &second]);
    let status =
        "STATUS=identities.toml: 2 identities: 1 added, 0 removed, 0 with another expiry\n";
    assert_eq!(receive(&socket), status);

    let _client = workspace.connect(&process, &first);
    process.signal(Signal::SIGTERM);
    assert_eq!(receive(&socket), "STOPPING=1\n");
    let draining = receive(&socket);
    assert!(
        draining.starts_with("STATUS=draining: tunnels that talk: 1; seconds left: "),
        "{draining}"
    );
    process.signal(Signal::SIGINT);
    process.wait_for("stopping on SIGINT");
    assert_eq!(process.end().code, Some(0));
}

//! Notifications to a service manager.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;
use testkit::{PATIENCE, identity};

use crate::gateway;

/// Returns the next notification.
fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn a_service_manager_is_notified_of_start_reload_and_stop() {
    let (first, second) = (identity(), identity());
    let setup = gateway().identities(&[&first]);
    let path = setup.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut gateway = setup
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .start();
    assert_eq!(receive(&socket), "READY=1\n");

    gateway.signal(Signal::SIGHUP);
    let reloading = receive(&socket);
    let microseconds = reloading
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap_or_else(|| panic!("{reloading}"));
    assert!(microseconds.trim().parse::<u64>().unwrap() > 0);
    let status = "STATUS=Reloaded identities.toml: 1 identity, unchanged.\n";
    assert_eq!(receive(&socket), format!("READY=1\n{status}"));

    gateway.replace_identities(&[&first, &second]);
    let status = "STATUS=Reloaded identities.toml: 2 identities (1 added, 0 removed, 0 with a \
                  different expiry).\n";
    assert_eq!(receive(&socket), status);

    let _client = gateway.connect(&first);
    gateway.signal(Signal::SIGTERM);
    assert_eq!(receive(&socket), "STOPPING=1\n");
    let draining = receive(&socket);
    assert!(
        draining.starts_with("STATUS=Draining for at most ")
            && draining.ends_with("Active tunnels: 1.\n"),
        "{draining}"
    );
    gateway.signal(Signal::SIGINT);
    gateway.wait_for_log("drain interrupted signal=SIGINT");
    assert_eq!(gateway.wait().code, Some(0));
}

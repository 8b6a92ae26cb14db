//! A gateway in a terminal that is closed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use testkit::identity;

/// Returns the controlling side of a new pseudoterminal, and the side of the programs in it.
fn terminal() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open(PathBuf::from(name.into_string().unwrap()))
        .unwrap();
    (master.into(), slave)
}

/// The kernel sends SIGHUP, which reloads the identities, and fails later writes to the terminal.
#[test]
fn a_closed_terminal_costs_only_log_lines() {
    let (master, slave) = terminal();
    let setup = crate::gateway().launcher(&["setsid", "--ctty"]);
    let mut command = setup.command();
    let input = slave.try_clone().unwrap();
    let output = slave.try_clone().unwrap();
    command.stdin(input).stdout(output).stderr(slave);
    let gateway = setup.start_command(command);
    let mut client = gateway.connect(&identity());

    drop(master);
    gateway.wait_for_metrics("the line about SIGHUP", |metrics| {
        metrics.sum("snapgate_log_lines_dropped_total") > 0
    });
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
    assert_eq!(gateway.get("/livez").1, "ok\n");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

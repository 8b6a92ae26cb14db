//! Full disks.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use testkit::{Mounts, identity, may_mount, wait_until};

use crate::gateway;

/// Size of the disks.
const DISK_BYTES: u64 = 64 << 10;

/// A block of the disks.
const PAGE_BYTES: u64 = 4096;

/// Number of tunnels whose state file has more than one block.
const TUNNELS: u64 = 100;

/// Fills the disk of `path` by a file, except for `free_bytes`.
fn fill(path: &Path, free_bytes: u64) {
    let mut file = File::create(path).unwrap();
    let page = [0; PAGE_BYTES as usize];
    while file.write_all(&page).is_ok() {}
    let filled = file.metadata().unwrap().len();
    file.set_len(filled - free_bytes).unwrap();
}

#[test]
fn a_write_that_fails_in_the_middle_leaves_the_previous_state() {
    if !may_mount("a_write_that_fails_in_the_middle_leaves_the_previous_state") {
        return;
    }
    let mounts = Mounts::new();
    let setup = gateway()
        .mounts(&mounts)
        .argument("--state-dir=state")
        .argument("--handshakes-per-ip-per-second=10000");
    let state = setup.path("state");
    mounts.mount_tmpfs(&state, DISK_BYTES);
    let read = |name: &str| mounts.run(|| fs::read(state.join(name)));
    let mut gateway = setup.start();
    let _first = gateway.connect(&identity());
    gateway.wait_for_metrics("the tunnel is in the file", |metrics| {
        metrics.sum("snapgate_state_records") == 1
    });
    let before = read("tunnels").unwrap();
    // The next file takes two blocks.
    mounts.run(|| fill(&state.join("filler"), PAGE_BYTES));
    let _clients: Vec<_> = (1..TUNNELS).map(|_| gateway.connect(&identity())).collect();
    let log = gateway.wait_for_log("cannot write state file file=state/tunnels ");
    assert!(log.contains("No space left on device"), "{log}");
    assert!(read("tunnels.new").is_err());
    // With few tunnels it was written once more.
    let partial = read("tunnels").unwrap();
    assert!(partial.starts_with(&before[..12]) && partial.len() as u64 <= PAGE_BYTES);
    gateway.kill();

    let mut gateway = setup.start();
    gateway.wait_for_log("tunnels of previous process loaded tunnels=");
    let _client = gateway.connect(&identity());
    mounts.run(|| fs::remove_file(state.join("filler")).unwrap());
    gateway.wait_for_metrics("a write", |metrics| {
        metrics.sum("snapgate_state_writes_total") > 0
    });
}

#[test]
fn log_lines_without_room_on_the_disk_are_dropped_and_counted() {
    if !may_mount("log_lines_without_room_on_the_disk_are_dropped_and_counted") {
        return;
    }
    let mounts = Mounts::new();
    let setup = gateway();
    let disk = setup.path("disk");
    mounts.mount_tmpfs(&disk, DISK_BYTES);
    let log = disk.join("log");
    let open = || OpenOptions::new().create(true).append(true).open(&log);
    let mut command = setup.command();
    command
        .stdout(Stdio::null())
        .stderr(mounts.run(open).unwrap());
    let gateway = setup.start_command(command);
    mounts.run(|| fill(&disk.join("filler"), 0));
    let dropped = "snapgate_log_lines_dropped_total";
    wait_until("lines are dropped", || {
        gateway.signal(Signal::SIGHUP);
        (gateway.metrics().sum(dropped) > 2).then_some(())
    });
    let mut client = gateway.connect(&identity());
    client.send(b"still here");
    assert_eq!(client.receive(), b"still here");

    mounts.run(|| fs::remove_file(disk.join("filler")).unwrap());
    let line = wait_until("the log reports dropped lines", || {
        gateway.signal(Signal::SIGHUP);
        let text = mounts.run(|| fs::read_to_string(&log).unwrap());
        let mut lines = text.split_inclusive('\n');
        let line = lines.find(|line| line.contains(" WARN log lines dropped lines="))?;
        Some(line.strip_suffix('\n')?.to_owned())
    });
    // It does not continue a line that was cut off.
    let (time, event) = line.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
    let lines: u64 = event.split_once('=').unwrap().1.parse().unwrap();
    assert!(lines > 2, "{line}");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

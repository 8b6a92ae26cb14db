//! Storage that refuses to write: a read-only file system, an exhausted quota, a broken disk.

use nix::errno::Errno;
use testkit::{Operation, identity, may_mount};

use crate::{OnFuse, gateway};

/// Operations that write.
const WRITES: [Operation; 5] = [
    Operation::Create,
    Operation::Write,
    Operation::Fsync,
    Operation::Rename,
    Operation::Unlink,
];

#[test]
fn records_wait_while_the_accounting_log_refuses_writes() {
    if !may_mount("records_wait_while_the_accounting_log_refuses_writes") {
        return;
    }
    for errno in [Errno::ENOSPC, Errno::EIO] {
        let (removed, other) = (identity(), identity());
        let setup = gateway().identities(&[&removed, &other]);
        let OnFuse {
            _mounts,
            mut gateway,
            fuse,
        } = OnFuse::with_accounting_log(setup);
        let mut client = gateway.connect(&other);
        // Afterwards the gateway knows that the client uses the tunnel.
        let mut removed = gateway.connect(&removed);
        removed.send(b"counted");
        assert_eq!(removed.receive(), b"counted");
        fuse.fail(&[Operation::Write], errno as i32);
        gateway.replace_identities(&[&other]);
        gateway.wait_for_log("cannot write accounting log file=accounting/records ");
        gateway.wait_for_metrics("another failed write", |metrics| {
            metrics.sum("snapgate_accounting_log_write_failures_total") > 1
        });
        client.send(b"still here");
        assert_eq!(client.receive(), b"still here");
        assert_eq!(fuse.content("records"), Some(Vec::new()));

        fuse.fail(&[], 0);
        gateway.wait_for_log("accounting log writable again");
        gateway.wait_for_metrics("the line is written", |metrics| {
            metrics.sum("snapgate_accounting_log_lines_total") == 1
        });
        let text = fuse.content("records").unwrap();
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        let lost = [("result", "lost")];
        let metrics = gateway.metrics();
        assert_eq!(metrics.sum_where("snapgate_usage_records_total", &lost), 0);
    }
}

#[test]
fn a_gateway_serves_while_its_state_directory_refuses_writes_and_recovers() {
    if !may_mount("a_gateway_serves_while_its_state_directory_refuses_writes_and_recovers") {
        return;
    }
    let failures = [
        (&WRITES[..], Errno::EROFS, "Read-only file system"),
        (&WRITES[1..2], Errno::EDQUOT, "Disk quota exceeded"),
        (&WRITES[2..3], Errno::EIO, "Input/output error"),
        (&WRITES[..1], Errno::EACCES, "Permission denied"),
    ];
    for (operations, errno, text) in failures {
        let OnFuse {
            _mounts,
            mut gateway,
            fuse,
        } = OnFuse::with_state(gateway());
        gateway.wait_for_metrics("a first write", |metrics| {
            metrics.sum("snapgate_state_writes_total") > 0
        });
        let before = fuse.content("tunnels").unwrap();
        fuse.fail(operations, errno as i32);
        let mut client = gateway.connect(&identity());
        let log = gateway.wait_for_log("cannot write state file file=state/tunnels ");
        assert!(log.contains(text), "{log}");
        let failed = gateway.wait_for_metrics("another failed write", |metrics| {
            metrics.sum("snapgate_state_write_failures_total") > 1
        });
        assert_eq!(failed.sum("snapgate_state_records"), 0);
        assert_eq!(fuse.content("tunnels").unwrap(), before);
        client.send(b"still here");
        assert_eq!(client.receive(), b"still here");

        fuse.fail(&[], 0);
        gateway.wait_for_log("state file writable again");
        gateway.wait_for_metrics("the tunnel is in the file", |metrics| {
            metrics.sum("snapgate_state_records") == 1
        });
        assert_eq!(fuse.content("tunnels.new"), None);
    }
}

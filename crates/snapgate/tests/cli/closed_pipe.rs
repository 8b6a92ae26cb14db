//! Commands with a closed standard output.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::Workspace;

#[test]
fn closed_pipe_causes_no_error_message() {
    let workspace = Workspace::new();
    for command in [["genkey"].as_slice(), &["check", "--config=valid.toml"]] {
        // A write fails with EPIPE, as on a pipe without reader. A real pipe would be unreliable: a process that
        // another test starts inherits the reading end for a moment. A shutdown applies to all copies.
        let (reader, writer) = UnixStream::pair().unwrap();
        reader.shutdown(Shutdown::Both).unwrap();
        let writer = Stdio::from(OwnedFd::from(writer));
        let mut child = workspace.snapgate(command);
        let child = child.stdin(Stdio::null()).stdout(writer).output().unwrap();
        let err = String::from_utf8(child.stderr).unwrap();
        assert_eq!(
            (child.status.code(), err.as_str()),
            (Some(1), ""),
            "{command:?}"
        );
    }
}

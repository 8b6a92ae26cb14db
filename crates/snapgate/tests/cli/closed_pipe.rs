//! Commands whose standard output nobody reads.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::Workspace;

#[test]
fn who_closes_the_pipe_is_not_told_about_it() {
    let workspace = Workspace::new();
    for command in [["genkey"].as_slice(), &["check", "--config=good.toml"]] {
        // A write is an error (EPIPE) as when nobody has the other end of a pipe. But a process that another test
        // starts would have a copy of that end for a moment; what is shut down is so for all copies.
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

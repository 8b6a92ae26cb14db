//! Commands whose standard output nobody reads.

use std::process::Stdio;

use crate::Workspace;

#[test]
fn who_closes_the_pipe_is_not_told_about_it() {
    let workspace = Workspace::new();
    for command in [
        [
            "demo",
            "--duration=1ms",
            "--tunnels=1",
            "--workers=1",
            "--cpus=none",
            "--json",
        ]
        .as_slice(),
        &["genkey"],
        &["check", "--config=good.toml"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
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

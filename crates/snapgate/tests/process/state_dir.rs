//! Processes that keep their tunnels in a directory. That clients are served at once after a restart is
//! tested with real ones, in the package `snapgate-interop`.

use std::fs;

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::workspace::Workspace;

const ARGUMENTS: [&str; 2] = ["--forward=echo", "--state-dir=state"];

fn workspace() -> Workspace {
    let workspace = Workspace::open();
    fs::create_dir(workspace.path("state")).unwrap();
    workspace
}

#[test]
fn two_gateways_cannot_have_one_directory() {
    let workspace = workspace();
    let process = workspace.start(&ARGUMENTS);
    let other = Process::spawn(workspace.command(&ARGUMENTS)).end();
    assert_eq!(other.code, Some(1), "{other:?}");
    let error = "error: another snapgate uses the state directory state; stop it, or give each a";
    assert!(other.log.contains(error), "{other:?}");

    // One that was killed does not have it any more.
    drop(process);
    let process = workspace.start(&ARGUMENTS);
    process.signal(Signal::SIGINT);
    assert_eq!(process.end().code, Some(0));
}

#[test]
fn a_damaged_file_is_set_aside_with_a_warning_and_the_gateway_starts() {
    let workspace = workspace();
    fs::write(workspace.path("state/tunnels"), "garbage").unwrap();
    let process = workspace.start(&ARGUMENTS);
    let warning = "the state file state/tunnels cannot be used: it is no state file of snapgate; it is now \
                   state/tunnels.aside-";
    assert!(process.said.contains(warning), "{}", process.said);
    // The end of the process comes behind its last commit.
    process.signal(Signal::SIGINT);
    process.end();
    assert!(
        fs::read(workspace.path("state/tunnels"))
            .unwrap()
            .starts_with(b"snapgate")
    );
}

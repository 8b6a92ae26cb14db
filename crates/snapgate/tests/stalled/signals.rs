//! Signals that mean nothing, and writes that the kernel answers with one.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::stall::wait_until;
use crate::workspace::{Workspace, metrics};

#[test]
fn signals_that_mean_nothing_change_nothing() {
    let workspace = Workspace::open();
    let mut process = workspace.start(&["--forward=echo"]);
    for signal in [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
        Signal::SIGTTOU,
    ] {
        process.signal(signal);
    }
    // It is handled behind the others.
    process.signal(Signal::SIGHUP);
    process.wait_for("there is nothing to reload");
    assert_eq!(crate::http::get(metrics(&process), "/livez").1, "ok\n");
    process.signal(Signal::SIGINT);
    assert_eq!(process.end().code, Some(0));
}

#[test]
fn a_limit_on_file_sizes_is_a_failed_write() {
    let workspace = Workspace::open();
    fs::create_dir(workspace.path("state")).unwrap();
    let command = workspace.command(&["--forward=echo", "--state-dir=state"]);
    // RLIMIT_FSIZE, as by LimitFSIZE= of a service.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 0 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear();
    let mut process = Process::start(limited);
    process.wait_for("metrics are at");
    wait_until("a write fails", || {
        let (_, text) = crate::http::get(metrics(&process), "/metrics");
        crate::http::sum(&text, "snapgate_state_write_failures_total") > 0
    });
    assert_eq!(crate::http::get(metrics(&process), "/livez").1, "ok\n");
    process.signal(Signal::SIGINT);
    let ended = process.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.log.contains("cannot write the state file"),
        "{ended:?}"
    );
}

//! Signals without effect, and writes that the kernel answers with a signal.

use std::fs;
use std::io::read_to_string;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::gateway;

#[test]
fn signals_without_meaning_have_no_effect() {
    let mut gateway = gateway().start();
    for signal in [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
        Signal::SIGTTOU,
    ] {
        gateway.signal(signal);
    }
    // It is handled after the others.
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for_log("nothing to reload");
    assert_eq!(gateway.get("/livez").1, "ok\n");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_limit_of_file_sizes_is_a_failed_write() {
    let setup = gateway().argument("--state-dir=state");
    fs::create_dir(setup.path("state")).unwrap();
    let command = setup.command();
    // Not a file: its writes would fail, too.
    let (log, stderr) = std::io::pipe().unwrap();
    // RLIMIT_FSIZE, as by LimitFSIZE= of a service.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 0 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .stdout(Stdio::null())
        .stderr(stderr);
    let gateway = setup.start_command(limited);
    gateway.wait_for_metrics("a write fails", |metrics| {
        metrics.sum("snapgate_state_write_failures_total") > 0
    });
    assert_eq!(gateway.get("/livez").1, "ok\n");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
    let log = read_to_string(log).unwrap();
    assert!(log.contains("cannot write state file"), "{log}");
}

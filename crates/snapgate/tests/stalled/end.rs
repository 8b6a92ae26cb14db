//! The end of a process in which a thread hangs.

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::process::Process;
use crate::stall::wait_until;
use crate::workspace::Workspace;

/// Stops one thread, as if it waited for something that does not come; false where ptrace(2) is not allowed.
fn freeze(thread: Pid) -> bool {
    match ptrace::seize(thread, ptrace::Options::empty()) {
        Err(Errno::EPERM) => {
            // Not by `eprintln!`, which is captured.
            let _ = writeln!(std::io::stderr(), "skipped a test: it needs ptrace(2)");
            return false;
        }
        seized => seized.unwrap(),
    }
    ptrace::interrupt(thread).unwrap();
    let status = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    assert!(
        matches!(
            status,
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)
        ),
        "{status:?}"
    );
    true
}

/// The thread of a process with this name.
fn thread_named(process: &Process, name: &str) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    let thread = tasks
        .map(|task| task.unwrap())
        .find(|task| fs::read_to_string(task.path().join("comm")).unwrap().trim() == name)
        .unwrap();
    Pid::from_raw(thread.file_name().to_str().unwrap().parse().unwrap())
}

#[test]
fn a_second_signal_ends_a_process_whose_main_thread_hangs() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let process = Workspace::open().start(&["--forward=echo"]);
        if !freeze(process.pid()) {
            return;
        }
        process.signal(Signal::SIGTERM);
        if second == Signal::SIGTERM {
            // Earlier, it would be a duplicate.
            thread::sleep(Duration::from_secs(1));
        }
        process.signal(second);
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.log.contains("ending now: a worker, the state"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_signal_ends_a_process_whose_worker_hangs() {
    let process = Workspace::open().start(&["--forward=echo"]);
    ends_though_frozen(process, "worker-0");
}

#[test]
fn a_signal_ends_a_process_whose_state_directory_does_not_answer() {
    let workspace = Workspace::open();
    fs::create_dir(workspace.path("state")).unwrap();
    let process = workspace.start(&["--forward=echo", "--state-dir=state"]);
    ends_though_frozen(process, "state");
}

fn ends_though_frozen(process: Process, thread: &str) {
    let thread = thread_named(&process, thread);
    if !freeze(thread) {
        return;
    }
    process.signal(Signal::SIGINT);
    // The process stays until its tracer has taken notice of the thread's end.
    wait_until("the thread ends", || {
        waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))
            != Ok(WaitStatus::StillAlive)
    });
    let ended = process.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

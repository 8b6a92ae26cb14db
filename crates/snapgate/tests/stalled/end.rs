//! The end of a process with a thread that hangs.

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use testkit::{GatewayProcess, wait_until};

use crate::gateway;

/// A stopped thread, as if it waited forever. It continues when this is dropped.
pub(crate) struct Frozen(Pid);

impl Frozen {
    /// Stops a thread. Returns `None` if ptrace(2) is not allowed.
    pub(crate) fn freeze(thread: Pid) -> Option<Self> {
        match ptrace::seize(thread, ptrace::Options::empty()) {
            Err(Errno::EPERM) => {
                // Not by `eprintln!`, which is captured.
                let _ = writeln!(std::io::stderr(), "skipped a test: it needs ptrace(2)");
                return None;
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
        Some(Self(thread))
    }

    /// Waits until the thread ends. Its process cannot end before that is noticed here.
    fn wait_for_end(&self) {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        wait_until("the thread ends", || {
            (waitpid(self.0, Some(flags)) != Ok(WaitStatus::StillAlive)).then_some(())
        });
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The thread may have ended.
        let _ = ptrace::detach(self.0, None);
    }
}

/// Returns the thread of a gateway with this name, once it has started.
pub(crate) fn thread_named(gateway: &GatewayProcess, name: &str) -> Pid {
    wait_until("the thread starts", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
        let thread = tasks.map(|task| task.unwrap()).find(|task| {
            // Other threads may end meanwhile.
            let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            comm.trim() == name
        })?;
        Some(Pid::from_raw(thread.file_name().to_str()?.parse().ok()?))
    })
}

#[test]
fn a_second_signal_ends_a_process_with_a_hanging_main_thread() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let gateway = gateway().start();
        let Some(frozen) = Frozen::freeze(gateway.pid()) else {
            return;
        };
        gateway.signal(Signal::SIGTERM);
        if second == Signal::SIGTERM {
            // Before that, it would be a duplicate.
            thread::sleep(Duration::from_secs(1));
        }
        gateway.signal(second);
        let ended = gateway.wait();
        drop(frozen);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.log.contains("shutdown deadline exceeded exit_code=0"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_signal_ends_a_process_with_a_hanging_worker() {
    let gateway = gateway().start();
    ends_though_frozen(gateway, "worker-0");
}

#[test]
fn a_signal_ends_a_process_with_a_hanging_state_directory() {
    let setup = gateway().argument("--state-dir=state");
    fs::create_dir(setup.path("state")).unwrap();
    let gateway = setup.start();
    ends_though_frozen(gateway, "state");
}

#[test]
fn an_unchecked_identities_file_is_a_warning() {
    let mut gateway = gateway().identities(&[]).start();
    let Some(frozen) = Frozen::freeze(thread_named(&gateway, "identities")) else {
        return;
    };
    gateway.wait_for_log("identities file not checked overdue=");
    drop(frozen);
}

fn ends_though_frozen(gateway: GatewayProcess, thread: &str) {
    let Some(frozen) = Frozen::freeze(thread_named(&gateway, thread)) else {
        return;
    };
    gateway.signal(Signal::SIGINT);
    frozen.wait_for_end();
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

//! The thread of a worker, and the report of its failure.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use core_affinity::CoreId;
use crossbeam_channel::Sender;
use rustix::thread::{Pid, gettid};

use super::start_error::StartError;

/// Failure of a worker. The gateway no longer forwards all packets and should be restarted.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker} failed: {reason}")]
pub struct WorkerFailure {
    /// Index of the worker.
    pub worker: usize,
    /// Error or panic message.
    pub reason: String,
}

/// A worker's thread.
pub(super) struct WorkerThread<T> {
    pub(super) handle: thread::JoinHandle<Option<T>>,
    pub(super) id: Pid,
}

/// Starts a worker's thread and waits until it runs on its CPU. The thread returns the result of `run`, or reports a
/// failure if `run` returns an error or panics.
pub(super) fn spawn<T: Send + 'static, E: Display>(
    index: usize,
    cpu: Option<usize>,
    run: impl FnOnce() -> Result<T, E> + Send + 'static,
    failed: Sender<WorkerFailure>,
) -> Result<WorkerThread<T>, StartError> {
    let (pinned, is_pinned) = crossbeam_channel::bounded(1);
    let handle = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let on_its_cpu = cpu.is_none_or(pin);
            // The receiver waits for this message.
            let _waits = pinned.send((on_its_cpu, gettid()));
            if !on_its_cpu {
                return None;
            }
            let result = catch_unwind(AssertUnwindSafe(run));
            let reason = match result {
                Ok(Ok(result)) => return Some(result),
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("it panicked: {}", panic_message(&*panic)),
            };
            // The channel has room for one failure of each worker.
            let _fits = failed.send(WorkerFailure {
                worker: index,
                reason,
            });
            None
        })
        .map_err(|source| StartError::Worker {
            worker: index,
            source,
        })?;
    match (is_pinned.recv(), cpu) {
        (Ok((false, _)), Some(cpu)) => Err(StartError::Pin { worker: index, cpu }),
        (Ok((_, id)), _) => Ok(WorkerThread { handle, id }),
        // The thread sends before it can end.
        (Err(_), _) => Err(StartError::Worker {
            worker: index,
            source: std::io::ErrorKind::BrokenPipe.into(),
        }),
    }
}

/// Pins the calling thread to `cpu`. Returns false if it may not run there.
fn pin(cpu: usize) -> bool {
    let cpu = CoreId { id: cpu };
    // Checked first, because core_affinity aborts on a CPU number that it cannot express.
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    allowed.contains(&cpu) && core_affinity::set_for_current(cpu)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value that a worker's thread returns, and the failure that it reports.
    fn outcome(
        run: impl FnOnce() -> Result<u8, &'static str> + Send + 'static,
    ) -> (Option<u8>, Option<String>) {
        let (failed, failures) = crossbeam_channel::bounded(1);
        let thread = spawn(3, None, run, failed).unwrap();
        let returned = thread.handle.join().unwrap();
        (
            returned,
            failures.recv().ok().map(|failure| failure.to_string()),
        )
    }

    #[test]
    fn a_stopped_worker_reports_no_failure() {
        assert_eq!(outcome(|| Ok(7)), (Some(7), None));
    }

    #[test]
    fn a_worker_that_returns_an_error_reports_it() {
        let (returned, failure) = outcome(|| Err("cannot wait for packets"));
        assert_eq!(returned, None);
        assert_eq!(failure.unwrap(), "worker 3 failed: cannot wait for packets");
    }

    #[test]
    fn a_worker_that_panics_reports_its_message() {
        let (returned, failure) = outcome(|| panic!("more than {} tunnels", 5));
        assert_eq!(returned, None);
        assert_eq!(
            failure.unwrap(),
            "worker 3 failed: it panicked: more than 5 tunnels"
        );
    }
}

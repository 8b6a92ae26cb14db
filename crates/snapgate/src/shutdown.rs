//! Shutdown deadline of the process.
//!
//! An orderly shutdown waits for workers, for the last write of the state file and for standard output. If that takes
//! too long, a separate thread ends the process, even while other threads are blocked.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between the first signal, or a failure, and the end of the process, if the gateway does not drain.
pub(crate) const END_TIME: Duration = Duration::from_secs(3);

/// Time between the second signal and the end of the process.
pub(crate) const END_TIME_AFTER_SECOND_SIGNAL: Duration = Duration::from_secs(1);

/// Sets the deadline. No method waits.
#[derive(Clone)]
pub(crate) struct ShutdownDeadline(Arc<Shared>);

#[derive(Default)]
struct Shared {
    deadline: Mutex<Option<Deadline>>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Deadline {
    at: Instant,
    /// Exit code of the process.
    code: u8,
    /// True if the deadline can only be moved forward.
    is_final: bool,
}

impl ShutdownDeadline {
    /// Starts the thread, which calls `exit` with the exit code after the deadline.
    pub(crate) fn start(exit: impl FnOnce(u8) + Send + 'static) -> io::Result<Self> {
        let shutdown = Self(Arc::default());
        let shared = Arc::clone(&shutdown.0);
        thread::Builder::new()
            .name("shutdown".to_owned())
            .spawn(move || {
                let code = shared.wait();
                tracing::error!(exit_code = code, "shutdown deadline exceeded");
                exit(code);
            })?;
        Ok(shutdown)
    }

    /// Expects a reaction to the first signal by `at`: [`drain_until`](Self::drain_until), or the end of the process.
    pub(crate) fn expect_reaction(&self, at: Instant) {
        self.update(|deadline| match deadline {
            Some(deadline) => deadline,
            None => Deadline {
                at,
                code: 0,
                is_final: false,
            },
        });
    }

    /// Allows a drain until `at`, and the end within [`END_TIME`] after that.
    pub(crate) fn drain_until(&self, at: Instant) {
        self.update(|deadline| match deadline {
            Some(deadline) if deadline.is_final => deadline,
            _ => Deadline {
                at: at + END_TIME,
                code: 0,
                is_final: false,
            },
        });
    }

    /// Ends the process by `at`, with exit code `code` unless a failure has set one before.
    pub(crate) fn end_by(&self, at: Instant, code: u8) {
        self.update(|deadline| Deadline {
            at: deadline.map_or(at, |deadline| deadline.at.min(at)),
            code: deadline.map_or(code, |deadline| deadline.code.max(code)),
            is_final: true,
        });
    }

    fn update(&self, new: impl FnOnce(Option<Deadline>) -> Deadline) {
        let mut deadline = self.0.lock();
        *deadline = Some(new(*deadline));
        drop(deadline);
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Deadline>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the deadline has passed, and returns the exit code.
    fn wait(&self) -> u8 {
        let mut current = self.lock();
        loop {
            current = match *current {
                None => self
                    .changed
                    .wait(current)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return deadline.code;
                    }
                    let woken = self.changed.wait_timeout(current, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A deadline without its thread.
    fn shutdown() -> (ShutdownDeadline, Instant) {
        (ShutdownDeadline(Arc::default()), Instant::now())
    }

    fn at(shutdown: &ShutdownDeadline) -> Instant {
        shutdown.0.lock().unwrap().at
    }

    #[test]
    fn a_drain_replaces_the_time_to_react() {
        let (shutdown, now) = shutdown();
        shutdown.expect_reaction(now + SECOND);
        shutdown.drain_until(now + 20 * SECOND);
        assert_eq!(at(&shutdown), now + 20 * SECOND + END_TIME);
        // A second signal does not shorten the drain.
        shutdown.expect_reaction(now + SECOND);
        assert_eq!(at(&shutdown), now + 20 * SECOND + END_TIME);
    }

    #[test]
    fn a_final_deadline_is_never_moved_back() {
        let (shutdown, now) = shutdown();
        shutdown.expect_reaction(now + 3 * SECOND);
        shutdown.end_by(now + SECOND, 0);
        shutdown.drain_until(now + 20 * SECOND);
        shutdown.end_by(now + 2 * SECOND, 0);
        assert_eq!(at(&shutdown), now + SECOND);
    }

    #[test]
    fn the_exit_code_of_a_failure_is_kept() {
        let (shutdown, now) = shutdown();
        shutdown.end_by(now + SECOND, 1);
        shutdown.end_by(now + SECOND, 0);
        assert_eq!(shutdown.0.lock().unwrap().code, 1);
    }

    #[test]
    fn the_process_ends_after_the_deadline() {
        let (exited, exits) = crossbeam_channel::bounded(1);
        let shutdown = ShutdownDeadline::start(move |code| exited.send(code).unwrap()).unwrap();
        shutdown.expect_reaction(Instant::now() + 3600 * SECOND);
        shutdown.end_by(Instant::now(), 1);
        assert_eq!(exits.recv_timeout(20 * SECOND), Ok(1));
    }
}

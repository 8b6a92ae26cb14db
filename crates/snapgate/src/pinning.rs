//! Pinning of the workers' threads to their CPUs, while they run.
//!
//! The kernel moves a thread to other CPUs when its CPU leaves the CPU set of the control group, and before Linux 6.2 does
//! not move it back. `taskset` and other processes can change the CPUs of a thread, too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::cpus::format_list;

/// Value of [`PinnedCpus`] for a worker without a CPU.
const NOT_PINNED: i64 = -1;

/// The CPU that each worker is pinned to, for the metrics.
#[derive(Debug)]
pub(crate) struct PinnedCpus(Box<[AtomicI64]>);

impl PinnedCpus {
    /// Creates a record of `workers` workers that are not pinned.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicI64::new(NOT_PINNED)).collect())
    }

    /// Records that a worker is pinned to `cpu`, or to none.
    pub(crate) fn set(&self, worker: usize, cpu: Option<usize>) {
        let number = cpu.and_then(|cpu| i64::try_from(cpu).ok());
        if let Some(cell) = self.0.get(worker) {
            cell.store(number.unwrap_or(NOT_PINNED), Ordering::Relaxed);
        }
    }

    /// Returns the CPU of each worker, -1 for one that is not pinned.
    pub(crate) fn all(&self) -> impl Iterator<Item = i64> {
        self.0.iter().map(|cpu| cpu.load(Ordering::Relaxed))
    }
}

/// A worker's thread that should be on one CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PinnedThread {
    pub(crate) worker: usize,
    pub(crate) thread: Pid,
    pub(crate) cpu: usize,
}

/// Watches that workers stay pinned, and pins them again.
pub(crate) struct PinWatch {
    threads: Vec<(PinnedThread, bool)>,
    pinned: Arc<PinnedCpus>,
}

/// Workers whose pinning changed.
#[derive(PartialEq, Eq, Debug, Default)]
struct Changes {
    lost: Vec<usize>,
    again: Vec<usize>,
}

impl PinWatch {
    /// The threads were pinned when they started.
    pub(crate) fn new(threads: Vec<PinnedThread>, pinned: Arc<PinnedCpus>) -> Self {
        Self {
            threads: threads.into_iter().map(|thread| (thread, true)).collect(),
            pinned,
        }
    }

    /// Pins workers again that are not on their CPUs, and logs what changed.
    pub(crate) fn check(&mut self) {
        let changes = self.check_with(
            |thread| Ok(sched_getaffinity(Some(thread))?),
            |thread, cpu| {
                let mut cpus = CpuSet::new();
                cpus.set(cpu);
                Ok(sched_setaffinity(Some(thread), &cpus)?)
            },
        );
        if !changes.lost.is_empty() {
            tracing::warn!(
                workers = format_list(&changes.lost),
                hint = "their CPUs are not in the CPU set of the process; they are pinned again when they are",
                "workers not pinned"
            );
        }
        if !changes.again.is_empty() {
            tracing::info!(
                workers = format_list(&changes.again),
                "workers pinned again"
            );
        }
    }

    fn check_with(
        &mut self,
        cpus_of: impl Fn(Pid) -> io::Result<CpuSet>,
        pin: impl Fn(Pid, usize) -> io::Result<()>,
    ) -> Changes {
        let mut changes = Changes::default();
        for (pinned, was_pinned) in &mut self.threads {
            let PinnedThread {
                worker,
                thread,
                cpu,
            } = *pinned;
            let is_on_its_cpu =
                || cpus_of(thread).is_ok_and(|cpus| cpus.count() == 1 && cpus.is_set(cpu));
            let moved = !is_on_its_cpu();
            let is_pinned = !moved || (pin(thread, cpu).is_ok() && is_on_its_cpu());
            self.pinned.set(worker, is_pinned.then_some(cpu));
            if *was_pinned && !is_pinned {
                changes.lost.push(worker);
            }
            if is_pinned && (moved || !*was_pinned) {
                changes.again.push(worker);
            }
            *was_pinned = is_pinned;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        set
    }

    /// Watches two workers on CPUs 4 and 5. The kernel reports `cpus` for both, and pins to CPUs of `allowed` only.
    fn check(watch: &mut PinWatch, cpus: &[usize], allowed: &[usize]) -> Changes {
        let now = Cell::new(None);
        watch.check_with(
            |_| Ok(now.take().unwrap_or_else(|| set(cpus))),
            |_, cpu| {
                if allowed.contains(&cpu) {
                    now.set(Some(set(&[cpu])));
                    Ok(())
                } else {
                    Err(io::ErrorKind::InvalidInput.into())
                }
            },
        )
    }

    #[test]
    fn workers_are_pinned_again_when_their_cpus_return() {
        let pinned = Arc::new(PinnedCpus::new(3));
        let threads = [(1, 4), (2, 5)].map(|(worker, cpu)| PinnedThread {
            worker,
            thread: rustix::thread::gettid(),
            cpu,
        });
        let mut watch = PinWatch::new(threads.to_vec(), Arc::clone(&pinned));
        let all = || pinned.all().collect::<Vec<_>>();

        let both = vec![1, 2];
        let changes = check(&mut watch, &[0, 1], &[0, 1, 5]);
        assert_eq!((changes.lost, changes.again), (vec![1], vec![2]));
        assert_eq!(all(), [-1, -1, 5]);

        let changes = check(&mut watch, &[0, 1], &[0, 1]);
        assert_eq!((changes.lost, changes.again), (vec![2], vec![]));
        assert_eq!(check(&mut watch, &[0, 1], &[0, 1]), Changes::default());
        assert_eq!(all(), [-1, -1, -1]);

        let changes = check(&mut watch, &[0, 1, 4, 5], &[0, 1, 4, 5]);
        assert_eq!((changes.lost, changes.again), (vec![], both));
        assert_eq!(all(), [-1, 4, 5]);
    }
}

//! Counts of the state file for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts of the state file, written by its thread and read by the HTTP server.
#[derive(Debug)]
pub(crate) struct StateStatus {
    started: Instant,
    records: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
    losses: AtomicU64,
    /// Milliseconds from `started`.
    last_write: AtomicU64,
}

impl StateStatus {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            records: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
        }
    }

    /// Returns the number of tunnels in the file.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Returns the number of successful writes.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Returns the number of failed writes.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns how often the file, its lock or the directory was removed or replaced.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Returns the time since the last write, or since the start.
    pub(crate) fn last_write_age(&self) -> Duration {
        let last = Duration::from_millis(self.last_write.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    pub(super) fn wrote(&self, records: usize) {
        self.records.store(records as u64, Ordering::Relaxed);
        let uptime = self.started.elapsed().as_millis();
        let uptime = u64::try_from(uptime).unwrap_or(u64::MAX);
        self.last_write.store(uptime, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the file, its lock or the directory was removed or replaced.
    pub(super) fn lost_files(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

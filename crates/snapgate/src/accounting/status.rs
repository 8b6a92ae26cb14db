//! Counts of the accounting log for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the accounting log, written by its thread and read by the HTTP server.
#[derive(Debug, Default)]
pub(crate) struct LogStatus {
    lines: AtomicU64,
    failures: AtomicU64,
}

impl LogStatus {
    /// Returns the number of lines written.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Returns the number of failed writes.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn wrote(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

//! The end of all sessions of a gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of times that all sessions were ended. Each worker compares it at the start of a turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionEndings(Arc<AtomicU64>);

impl SessionEndings {
    /// Ends all sessions: every worker does so before it handles the packets of its next turn.
    pub(crate) fn end_all(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

//! A limit for log lines about a condition that lasts.

use std::time::{Duration, Instant};

/// Interval between log lines about one condition.
const INTERVAL: Duration = Duration::from_secs(60);

/// A condition that is logged once a minute while it lasts.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    logged_at: Option<Instant>,
}

impl LogLimit {
    /// Returns true if a log line is due, and counts it as logged.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_past = |at| now.saturating_duration_since(at) >= INTERVAL;
        let is_due = self.logged_at.is_none_or(is_past);
        if is_due {
            self.logged_at = Some(now);
        }
        is_due
    }

    /// Ends the condition. Returns true if it was logged.
    pub(super) fn end(&mut self) -> bool {
        self.logged_at.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_condition_is_logged_every_minute() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        assert!(limit.is_due(start));
        assert!(!limit.is_due(start + INTERVAL - Duration::from_secs(1)));
        assert!(limit.is_due(start + INTERVAL));
        assert!(limit.end() && !limit.end());
        assert!(limit.is_due(start + INTERVAL));
    }
}

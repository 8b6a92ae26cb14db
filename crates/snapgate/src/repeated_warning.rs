//! Warnings about a condition that lasts.

use std::time::{Duration, Instant};

/// Interval between log lines about one condition.
const INTERVAL: Duration = Duration::from_secs(60);

/// A warning that is logged once a minute while its condition lasts.
#[derive(Debug, Default)]
pub(crate) struct RepeatedWarning {
    logged_at: Option<Instant>,
}

impl RepeatedWarning {
    /// Returns true if the warning is due, and counts it as logged.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_past = |at| now.saturating_duration_since(at) >= INTERVAL;
        let is_due = self.logged_at.is_none_or(is_past);
        if is_due {
            self.logged_at = Some(now);
        }
        is_due
    }

    /// Ends the condition: the next warning is due at once. Returns true if one was logged.
    pub(crate) fn end(&mut self) -> bool {
        self.logged_at.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_due_at_once_and_then_every_minute() {
        let mut warning = RepeatedWarning::default();
        let start = Instant::now();
        assert!(!warning.end());
        assert!(warning.is_due(start));
        assert!(!warning.is_due(start + INTERVAL - Duration::from_secs(1)));
        assert!(warning.is_due(start + INTERVAL));
        assert!(!warning.is_due(start + INTERVAL));
        assert!(warning.end());
        assert!(warning.is_due(start + INTERVAL));
    }
}

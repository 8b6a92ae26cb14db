//! When to fetch a key set from a URL again.

use std::time::Duration;

/// Wait after a first failure. It doubles with each further one, up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// Shortest wait after a success, whatever the server says.
const SHORTEST: Duration = Duration::from_secs(30);

/// Shortest interval; a shorter one is raised to it.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Computes the time between two fetches.
#[derive(Debug)]
pub(super) struct RefreshSchedule {
    /// The longest wait.
    interval: Duration,
    /// The wait after the next failure.
    retry: Duration,
}

impl RefreshSchedule {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(SHORTEST_INTERVAL),
            retry: FIRST_RETRY,
        }
    }

    /// Returns the wait after a success. `max_age` is how long the answer is fresh, according to the server; it can
    /// shorten the wait, but not lengthen it: a withdrawn key is to be refused within the configured interval.
    pub(super) fn after_success(&mut self, max_age: Option<Duration>) -> Duration {
        self.retry = FIRST_RETRY;
        let wait = max_age.unwrap_or(self.interval).max(SHORTEST);
        wait.min(self.interval)
    }

    /// Returns the wait after a failure.
    pub(super) fn after_failure(&mut self) -> Duration {
        let wait = self.retry.min(self.interval);
        self.retry = wait.saturating_mul(2);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_server_can_shorten_the_wait() {
        let mut schedule = RefreshSchedule::new(seconds(300));
        for (max_age, expected) in [
            (None, 300),
            (Some(0), 30),
            (Some(100), 100),
            (Some(300), 300),
            (Some(3600), 300),
            (Some(u64::MAX), 300),
        ] {
            let wait = schedule.after_success(max_age.map(seconds));
            assert_eq!(wait, seconds(expected), "{max_age:?}");
        }
    }

    #[test]
    fn a_short_interval_is_never_exceeded() {
        let mut schedule = RefreshSchedule::new(seconds(5));
        assert_eq!(schedule.after_success(None), seconds(5));
        assert_eq!(schedule.after_success(Some(seconds(60))), seconds(5));
        assert_eq!(schedule.after_success(Some(seconds(0))), seconds(5));
        assert_eq!(schedule.after_failure(), seconds(5));
        assert_eq!(schedule.after_failure(), seconds(5));
    }

    #[test]
    fn there_is_a_shortest_interval() {
        let mut schedule = RefreshSchedule::new(Duration::ZERO);
        assert_eq!(schedule.after_success(Some(Duration::ZERO)), seconds(1));
        assert_eq!(schedule.after_failure(), seconds(1));
    }

    #[test]
    fn the_wait_doubles_with_each_failure_in_a_row() {
        let mut schedule = RefreshSchedule::new(seconds(300));
        for expected in [10, 20, 40, 80, 160, 300, 300, 300] {
            assert_eq!(schedule.after_failure(), seconds(expected));
        }
        schedule.after_success(None);
        assert_eq!(schedule.after_failure(), seconds(10));
    }
}

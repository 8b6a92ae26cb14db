//! Detection of suspension of the host, and of steps of the system clock.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Minimum step of the system clock; it exceeds the time between reading one clock and the other.
const STEP_MIN: Duration = Duration::from_millis(500);

/// Minimum suspension, for the same reason.
const SUSPENSION_MIN: Duration = Duration::from_secs(1);

/// A reading of the clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The gateway's clock, which counts suspension and cannot be set.
    pub(super) now: Instant,
    /// The clock that stops during suspension.
    pub(super) monotonic: Instant,
    /// The system clock, which can be set.
    pub(super) wall: SystemTime,
}

/// Events between two readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Changes {
    /// Time for which the host was suspended.
    pub(super) suspended: Option<Duration>,
    /// Step of the system clock.
    pub(super) step: Option<Step>,
}

/// Step of the system clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Forward(Duration),
    Back(Duration),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, step) = match self {
            Self::Forward(step) => ('+', step),
            Self::Back(step) => ('-', step),
        };
        write!(f, "{sign}{:.1}s", step.as_secs_f64())
    }
}

impl Reading {
    /// Returns the events since an earlier reading.
    pub(super) fn changes_since(&self, before: &Self) -> Changes {
        let elapsed = self.now.saturating_duration_since(before.now);
        let running = self.monotonic.saturating_duration_since(before.monotonic);
        let suspended = elapsed.saturating_sub(running);
        let step = match self.wall.duration_since(before.wall + elapsed) {
            Ok(step) => (step >= STEP_MIN).then_some(Step::Forward(step)),
            Err(back) => (back.duration() >= STEP_MIN).then_some(Step::Back(back.duration())),
        };
        Changes {
            suspended: (suspended >= SUSPENSION_MIN).then_some(suspended),
            step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn later(reading: &Reading, running: Duration, suspended: Duration) -> Reading {
        Reading {
            now: reading.now + running + suspended,
            monotonic: reading.monotonic + running,
            wall: reading.wall + running + suspended,
        }
    }

    fn start() -> Reading {
        let now = Instant::now();
        Reading {
            now,
            monotonic: now,
            wall: SystemTime::now(),
        }
    }

    #[test]
    fn time_that_passes_is_no_event() {
        let before = start();
        for running in [Duration::ZERO, SECOND, 3600 * SECOND] {
            let changes = later(&before, running, Duration::ZERO).changes_since(&before);
            assert_eq!(changes, Changes::default());
        }
    }

    #[test]
    fn a_step_in_either_direction_is_detected() {
        let before = start();
        for step in [SECOND, 86_400 * 365 * SECOND] {
            let mut after = later(&before, SECOND, Duration::ZERO);
            after.wall += step;
            let changes = after.changes_since(&before);
            assert_eq!(changes.step, Some(Step::Forward(step)));
            after.wall -= 2 * step;
            let changes = after.changes_since(&before);
            assert_eq!(changes.step, Some(Step::Back(step)));
            assert_eq!(changes.suspended, None);
        }
    }

    /// Also by more than the time for which the process runs.
    #[test]
    fn a_step_to_before_1970_is_detected() {
        let before = start();
        let mut after = later(&before, SECOND, Duration::ZERO);
        after.wall = SystemTime::UNIX_EPOCH - 3600 * SECOND;
        let step = after.changes_since(&before).step;
        assert!(matches!(step, Some(Step::Back(_))), "{step:?}");
    }

    #[test]
    fn a_suspension_is_no_step() {
        let before = start();
        for suspended in [SECOND, 240 * SECOND, 86_400 * SECOND] {
            let changes = later(&before, SECOND, suspended).changes_since(&before);
            let expected = Changes {
                suspended: Some(suspended),
                step: None,
            };
            assert_eq!(changes, expected);
        }
    }

    #[test]
    fn steps_are_logged_with_their_sign() {
        let step = Duration::from_millis(62_340);
        assert_eq!(Step::Forward(step).to_string(), "+62.3s");
        assert_eq!(Step::Back(step).to_string(), "-62.3s");
    }
}

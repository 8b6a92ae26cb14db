//! Detection of steps of the system clock: it was set, or the machine was suspended.

use std::time::{Duration, Instant, SystemTime};

/// Minimum step; it exceeds the time between reading one clock and the other.
const STEP_MIN: Duration = Duration::from_millis(500);

/// Compares the system clock with the monotonic clock, which cannot be set and stops during suspension.
pub(crate) struct ClockSteps {
    now: Instant,
    wall: SystemTime,
}

impl ClockSteps {
    pub(crate) fn new(now: Instant, wall: SystemTime) -> Self {
        Self { now, wall }
    }

    /// Returns true if the system clock stepped forwards or backwards since the last call.
    pub(crate) fn stepped(&mut self, now: Instant, wall: SystemTime) -> bool {
        let expected = self.wall + now.saturating_duration_since(self.now);
        *self = Self { now, wall };
        let step = match wall.duration_since(expected) {
            Ok(forwards) => forwards,
            Err(back) => back.duration(),
        };
        step >= STEP_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_in_either_direction_is_detected_once() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clock = ClockSteps::new(start, wall);
        assert!(!clock.stepped(start + second, wall + second));
        // An hour forwards.
        let wall = wall + 3600 * second;
        assert!(clock.stepped(start + 2 * second, wall + 2 * second));
        assert!(!clock.stepped(start + 3 * second, wall + 3 * second));
        // A minute back.
        let wall = wall - 60 * second;
        assert!(clock.stepped(start + 4 * second, wall + 4 * second));
        assert!(!clock.stepped(start + 5 * second, wall + 5 * second));
    }
}

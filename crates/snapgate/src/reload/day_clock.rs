//! Noticing that the clock of the day was set, or that the machine slept.

use std::time::{Duration, Instant, SystemTime};

/// The clocks differ by more than what passes between reading the one and the other.
const STEP_MIN: Duration = Duration::from_millis(500);

/// Compares the clock of the day with the one that nobody sets, and that stands still while the machine sleeps.
pub(crate) struct DayClock {
    now: Instant,
    day: SystemTime,
}

impl DayClock {
    pub(crate) fn new(now: Instant, day: SystemTime) -> Self {
        Self { now, day }
    }

    /// Takes in what both clocks say; true if the clock of the day went forwards or back by itself since the last
    /// time.
    pub(crate) fn was_set(&mut self, now: Instant, day: SystemTime) -> bool {
        let expected = self.day + now.saturating_duration_since(self.now);
        *self = Self { now, day };
        let step = match day.duration_since(expected) {
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
    fn a_step_in_either_direction_is_noticed_once() {
        let (start, day) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clock = DayClock::new(start, day);
        assert!(!clock.was_set(start + second, day + second));
        // An hour forwards.
        let day = day + 3600 * second;
        assert!(clock.was_set(start + 2 * second, day + 2 * second));
        assert!(!clock.was_set(start + 3 * second, day + 3 * second));
        // A minute back.
        let day = day - 60 * second;
        assert!(clock.was_set(start + 4 * second, day + 4 * second));
        assert!(!clock.was_set(start + 5 * second, day + 5 * second));
    }
}

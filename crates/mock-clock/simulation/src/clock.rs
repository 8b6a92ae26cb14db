//! The time of a simulation.

use std::time::{Duration, Instant, SystemTime};

use mock_instant::thread_local::MockClock;

/// What the mock clock of `ana-gotatun` says at the start. Not zero, so that there can be a time before.
const START: Duration = Duration::from_secs(1_000_000);

/// So far are all clocks of the day ahead of the real one, so that those that are slow are ahead of it too.
const LEAD: Duration = Duration::from_secs(10_000);

/// A state machine whose clock of the day is wrong by more was held up while it was made, and is made anew.
/// The shortest time between two events is longer.
const WRONG_BY_MAX: Duration = Duration::from_micros(900);

/// The clock of one simulation. It moves that of its thread, so a thread has one at a time.
pub(crate) struct Clock {
    started: Instant,
    started_wall: SystemTime,
    elapsed: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        MockClock::set_time(START);
        Clock {
            started: Instant::now(),
            started_wall: SystemTime::now(),
            elapsed: Duration::ZERO,
        }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The time for whom time is an argument.
    pub(crate) fn now(&self) -> Instant {
        self.started + self.elapsed
    }

    /// How long after the start `instant` is.
    pub(crate) fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }

    /// What a right clock of the day says.
    pub(crate) fn wall(&self) -> SystemTime {
        self.started_wall + LEAD + self.elapsed
    }

    pub(crate) fn advance_to(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        MockClock::set_time(START + elapsed);
    }

    /// Makes a state machine whose initiations bear the simulation's time of day, plus `ahead`.
    ///
    /// `ana-gotatun` has no mock for the clock of the day: it reads the real one when a `Tunn` is made, and
    /// adds what its monotonic clock says has passed since. So that one says another time while `make` runs.
    pub(crate) fn with_right_stamps<T>(&self, ahead: Ahead, make: impl Fn() -> T) -> T {
        loop {
            let before = self.real_time_passed();
            let (fast, slow) = match ahead {
                Ahead::By(fast) => (fast, Duration::ZERO),
                Ahead::ButBehindBy(slow) => (Duration::ZERO, slow),
            };
            MockClock::set_time(START + before + slow - LEAD - fast);
            let made = make();
            MockClock::set_time(START + self.elapsed);
            if self.real_time_passed().saturating_sub(before) <= WRONG_BY_MAX {
                return made;
            }
        }
    }

    fn real_time_passed(&self) -> Duration {
        self.started_wall.elapsed().unwrap_or_default()
    }
}

/// How wrong a clock of the day is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// It is right, or fast.
    By(Duration),
    /// It is slow.
    ButBehindBy(Duration),
}

impl Ahead {
    pub(crate) const RIGHT: Ahead = Ahead::By(Duration::ZERO);
}

//! Virtual time of a simulation.

use std::time::{Duration, Instant, SystemTime};

use mock_instant::thread_local::MockClock;

/// Initial time of the mock clock of `ana-gotatun`. Not zero, so that earlier times exist.
const START: Duration = Duration::from_secs(1_000_000);

/// Lead of all simulated system clocks over the real one, so that slow ones are also ahead of it.
const LEAD: Duration = Duration::from_secs(10_000);

/// Maximum error of a state machine's system clock. A state machine whose creation took longer is created again. The
/// shortest time between two events is longer.
const WRONG_BY_MAX: Duration = Duration::from_micros(900);

/// Clock of one simulation. It sets the thread's mock clock, so there can be one per thread.
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

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns the time to pass to `snaptun`.
    pub(crate) fn now(&self) -> Instant {
        self.started + self.elapsed
    }

    /// Returns the time from the start to `instant`.
    pub(crate) fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }

    /// Returns the time of a correct system clock.
    pub(crate) fn wall(&self) -> SystemTime {
        self.started_wall + LEAD + self.elapsed
    }

    pub(crate) fn advance_to(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        MockClock::set_time(START + elapsed);
    }

    /// Makes a state machine whose initiations carry the simulated system time plus `ahead`.
    ///
    /// `ana-gotatun` has no mock of the system clock: it reads the real one when a `Tunn` is created, and adds the
    /// monotonic time since then. The mock clock is therefore set to another time while `make` runs.
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

/// Error of a system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Correct or fast.
    By(Duration),
    /// Slow.
    ButBehindBy(Duration),
}

impl Ahead {
    pub(crate) const RIGHT: Ahead = Ahead::By(Duration::ZERO);
}

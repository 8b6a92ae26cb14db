//! Virtual clock for tests of `snaptun` over hours.
//!
//! `ana-gotatun` reads the clock itself. Its feature `mock_instant` replaces that clock by one that only tests advance.
//! This package is in another workspace than the gateway, so that cargo never unifies the feature into it: `cargo test
//! --manifest-path crates/mock-clock/Cargo.toml -p snaptun-virtual-time` runs the tests.

use std::time::{Duration, Instant};

/// Time of one test. Each test runs in its own thread, and the mock clocks are thread-local.
#[derive(Debug)]
pub struct VirtualClock {
    now: Instant,
}

impl VirtualClock {
    /// Starts the clock of this thread. Only one may exist at a time.
    #[must_use]
    pub fn start() -> Self {
        VirtualClock {
            now: Instant::now(),
        }
    }

    /// Returns the time to pass as `now`.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Advances the time of `now` and of both versions of `ana-gotatun`.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        mock_instant::thread_local::MockClock::advance(time);
        mock_instant_client::MockClock::advance(time);
    }
}

//! A clock for tests of `snaptun` in which hours pass.
//!
//! `ana-gotatun` reads a clock of its own. Its feature `mock_instant` replaces that by one that only
//! tests move. This package is in another workspace than the gateway, so that cargo never unifies the feature into it:
//! `cargo test --manifest-path crates/mock-clock/Cargo.toml -p snaptun-virtual-time` runs the tests.

use std::time::{Duration, Instant};

/// The time of one test, which runs in a thread of its own: so do the mock clocks.
#[derive(Debug)]
pub struct VirtualClock {
    now: Instant,
}

impl VirtualClock {
    /// Starts the clock of this thread. There can be one at a time.
    #[must_use]
    pub fn start() -> Self {
        VirtualClock {
            now: Instant::now(),
        }
    }

    /// The time to pass on as `now`.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets time pass for everyone: for who is told `now`, and for both versions of `ana-gotatun`.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        mock_instant::thread_local::MockClock::advance(time);
        mock_instant_client::MockClock::advance(time);
    }
}

//! The only module that reads the clocks.

use std::time::{Duration, Instant, SystemTime};

use snaptun::{ClockProbe, ShardConfig};

use testkit::shard::Shard;

#[expect(
    clippy::disallowed_methods,
    reason = "the tests are the caller that owns the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the system time, which also stamps the clients' initiations.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests are the caller that owns the clock"
)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Returns a shard with the default configuration.
pub(crate) fn new_shard() -> Shard {
    Shard::new(now(), ShardConfig::default())
}

#[test]
fn the_clock_below_the_tunnels_advances() {
    let mut probe = ClockProbe::start();
    let give_up_at = now() + Duration::from_secs(20);
    while !probe.has_advanced() {
        assert!(now() < give_up_at, "the clock stands still");
    }
}

//! The one place that reads the clocks.

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

/// What the system clock says, which the clients take their timestamps from.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests are the caller that owns the clock"
)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// A shard with the default configuration.
pub(crate) fn new_shard() -> Shard {
    Shard::new(now(), ShardConfig::default())
}

#[test]
fn the_clock_below_the_tunnels_advances() {
    let mut probe = ClockProbe::start();
    let give_up_at = now() + Duration::from_secs(20);
    while !probe.has_advanced() {
        assert!(now() < give_up_at, "it stands still");
    }
}

//! The one place that reads the clocks.

use std::time::{Instant, SystemTime};

use snaptun::ShardConfig;

use crate::shard::Shard;

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

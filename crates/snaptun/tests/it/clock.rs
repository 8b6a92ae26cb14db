//! The one place that reads the clock.

use std::time::Instant;

use snaptun::ShardConfig;

use crate::shard::Shard;

#[expect(
    clippy::disallowed_methods,
    reason = "the tests are the caller that owns the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A shard with the default configuration.
pub(crate) fn new_shard() -> Shard {
    Shard::new(now(), ShardConfig::default())
}

//! The shard against clients over virtual hours. Its other tests are in the package `snaptun`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "how tests fail, in their helpers too"
)]

mod authorization;
mod clock;
mod drain;
mod expiry;
mod flooded;
mod overload;
mod rekey;
mod restart;
mod takeover;
mod timers;
mod waiting;
mod world;

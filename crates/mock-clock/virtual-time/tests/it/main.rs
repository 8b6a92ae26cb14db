//! Tests of a shard and its clients over hours of virtual time. The other tests are in the package `snaptun`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "how tests fail, also in their helpers"
)]

mod authorization;
mod clock;
mod drain;
mod expiry;
mod flooded;
mod overload;
mod rekey;
mod restart;
mod suspend;
mod takeover;
mod timers;
mod waiting;
mod world;

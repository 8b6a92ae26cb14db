//! Tests of a shard and its clients on the real clock. Tests that take minutes are in the package
//! `snaptun-virtual-time`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "how tests fail, also in their helpers"
)]

mod accounting;
mod authorization;
mod bounds;
mod clock;
mod data;
mod directory;
mod drain;
mod drop_reason;
mod flooded;
mod forging;
mod garbage;
mod handshake;
mod identity_limit;
mod lapsed;
mod overload;
mod reopen;
mod replay;
mod restart;
mod roaming;
mod screening;
mod takeover;
mod timers;
mod usage;
mod waiting;

//! Tests against the real kernel, on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing helper fails its test"
)]

mod dispatch_balance;
mod groups;
mod receiving;
mod scion;
mod sending;
mod start;
mod support;
mod tunnel_dispatch;
mod upstream_dispatch;

//! The whole gateway, with real sockets on loopback. No test here starts a process; see `tests/process`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails, fails its test"
)]

mod accounting;
mod bad_datagrams;
#[expect(dead_code, reason = "`tests/process` uses the rest")]
mod client;
mod echo;
mod gateway;
mod http;
mod metrics;
mod packets;
mod scion;
mod scmp;
mod trains;

//! The whole gateway, with real sockets on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails, fails its test"
)]

mod accounting;
mod bad_datagrams;
mod client;
mod echo;
mod gateway;
mod load;
mod metrics;
mod scion;
mod trains;

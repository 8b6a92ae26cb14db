//! Runs against a gateway that echoes, on real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails, fails its test"
)]

mod attendance;
mod command;
mod connecting;
mod counting;
mod echo_gateway;
mod reports;
mod scenarios;
mod searching;

//! Tests of the library against an echo gateway and against snapgate, on real sockets. These tests start no processes;
//! see `tests/program`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing helpers fail their test"
)]

mod attendance;
mod connecting;
mod counting;
mod real_gateway;
mod scenarios;
mod searching;

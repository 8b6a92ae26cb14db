//! Runs of the library against a gateway that echoes, and against snapgate, on real sockets. No test here starts a process; see
//! `tests/program`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails, fails its test"
)]

mod attendance;
mod connecting;
mod counting;
mod real_gateway;
mod scenarios;
mod searching;

//! The control plane's server on real sockets.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod bad_input;
mod limits;
mod local;
mod rpcs;
mod segments;
mod start_and_stop;
mod support;
mod tls;

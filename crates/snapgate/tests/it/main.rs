//! The whole gateway, with real sockets on loopback. No test here starts a process; see `tests/process`.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod accounting;
mod bad_datagrams;
mod echo;
mod embedding;
mod metrics;
mod registrations;
mod scion;
mod scmp;
mod trains;
mod usage;

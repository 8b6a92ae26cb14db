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
mod drain;
mod echo;
mod failures;
mod faults;
mod gateway;
mod http;
mod load;
mod metrics;
mod namespace;
mod packets;
mod process;
mod reload;
mod revocation;
mod scion;
mod scmp;
mod service_manager;
mod signals;
mod sources;
mod state_dir;
mod trains;
mod workspace;

//! A SNAP with unmodified SCION applications: gateway process, control plane, and PocketSCION as the network.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy.toml allows this in test functions, but not in their helpers"
)]

mod connecting;
mod endhost_api;
mod killed;
mod registrations;
mod revoked;
mod scmp;
mod tls;
mod tokens;
mod traffic;

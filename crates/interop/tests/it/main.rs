//! Tests of released clients with a gateway over real sockets. Tests that start processes are in `tests/killed.rs`.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows this in test functions, but not in their helpers"
)]

mod connecting;
mod current_clients;
mod dispatch;
mod echo;
mod from_scion;
mod hairpins;
mod keepalives;
mod padding;
mod refused;
mod restarts;
mod revoked;
mod towards_scion;
mod violations;
mod wildcard;

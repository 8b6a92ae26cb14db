//! What the clients of today get from a gateway, over real sockets. No test here starts a process; see
//! `tests/killed.rs`.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy's leave for tests covers test functions only, not their helpers"
)]

mod connecting;
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

//! Tests of the public API, and of agreement with sciparse, the parser of real clients.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy exempts test functions, but not their helpers"
)]

mod any_bytes;
mod build;
mod complaints;
mod delivery_port;
mod egress_interface;
mod incoming_policy;
mod oracle;
mod packet;
mod reasons;
mod scmp;
mod support;

//! Behaviour of the crate as its users see it, and agreement with the parser of real clients.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's leave for tests covers test functions only, not their helpers"
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

//! Trains in which the kernel merges a client's messages with forged ones: the client loses nothing.
//!
//! The tests need network namespaces and a steady load, so they are a separate test program: cargo runs it alone, and
//! its tests wait for each other ([`attack::alone`]).
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod attack;
mod merged;
mod order;
mod upstream;

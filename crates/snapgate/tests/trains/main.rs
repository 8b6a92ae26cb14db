//! What the kernel merges into one train with a client's messages costs the client nothing.
//!
//! The tests need network namespaces and a steady load, so they are a test program of their own: cargo runs it when
//! no other tests run, and they wait for each other ([`attack::alone`]).
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod attack;
mod merged;
mod order;
mod upstream;

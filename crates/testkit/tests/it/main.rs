//! The kit's own tests: what tests rely on really happens.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod forging;
mod merging;
mod metrics;

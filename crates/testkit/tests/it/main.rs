//! Tests of the test kit.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod forging;
mod merging;
mod metrics;

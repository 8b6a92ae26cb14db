//! The data plane of a SCION Network Access Point.

mod admin;
mod authorization;
pub mod cli;
pub mod config;
pub mod counters;
mod cpus;
pub mod demo;
pub mod drop_reason;
pub mod gateway;
pub mod identities;
pub mod keys;
mod mailbox;
mod metrics;
pub mod summary;
mod topology;
mod worker;

//! The data plane of a SCION Network Access Point.

pub mod config;
pub mod cpus;
pub mod identities;
pub mod keys;
pub mod topology;

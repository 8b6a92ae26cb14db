//! The data plane of a SCION Network Access Point.

pub mod authorization;
pub mod cli;
pub mod config;
pub mod counters;
mod cpus;
mod drain;
pub mod drop_reason;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gateway;
mod hardening;
mod http;
pub mod identities;
pub mod keys;
mod logging;
mod mailbox;
mod metrics;
mod outbox;
#[cfg(test)]
mod reference;
mod reload;
mod service;
mod service_manager;
mod shutdown;
mod signals;
pub mod state;
mod status;
pub mod summary;
mod system_clock;
mod topology;
mod turn_watch;
mod worker;

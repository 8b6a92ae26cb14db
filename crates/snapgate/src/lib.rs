//! The data plane of a SCION Network Access Point: terminates SNAPtun tunnels and forwards the SCION packets in them.
//!
//! The command `snapgate` is the usual way to run a gateway. This library runs one inside another program, with the
//! program's own [authorization](authorization::SnapTunAuthorization), [forward mode](config::Forward) and metrics
//! registry. A [`Gateway`](gateway::Gateway) starts threads and binds sockets. It installs no logger, panic hook or
//! signal handler and changes no attribute of the process; log events go to the program's `tracing` subscriber, if it
//! has one.
//!
//! ```
//! use std::collections::HashSet;
//! use std::sync::RwLock;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::time::{Duration, Instant};
//!
//! use prometheus_client::registry::Registry;
//! use snapgate::authorization::{Grant, SnapTunAuthorization};
//! use snapgate::config::Forward;
//! use snapgate::gateway::{Drained, Gateway};
//! use snapgate::keys::PrivateKey;
//!
//! /// The public keys of authorized clients.
//! #[derive(Default)]
//! struct Subscribers {
//!     keys: RwLock<HashSet<[u8; 32]>>,
//!     generation: AtomicU64,
//! }
//!
//! impl SnapTunAuthorization for Subscribers {
//!     type SessionData = ();
//!
//!     fn is_authorized(&self, _: Instant, identity: &[u8; 32]) -> Option<Grant<()>> {
//!         let is_subscriber = self.keys.read().ok()?.contains(identity);
//!         is_subscriber.then_some(Grant { expires: None, session_data: () })
//!     }
//!
//!     // To be increased whenever a key is added or removed.
//!     fn generation(&self) -> u64 {
//!         self.generation.load(Ordering::Acquire)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::builder("127.0.0.1:0".parse()?, PrivateKey::generate()?, Forward::Echo)
//!     .authorization(Subscribers::default())
//!     .start()?;
//! println!("tunnels: {:?}", gateway.local_addresses().tunnels);
//!
//! let mut registry = Registry::default();
//! registry.register_collector(Box::new(gateway.metrics()));
//!
//! let drained = gateway.drain(Duration::from_secs(5), Duration::from_secs(20));
//! assert_eq!(drained, Drained::Idle);
//! let summary = gateway.stop();
//! assert_eq!(summary.total().tunnels, 0);
//! # Ok(())
//! # }
//! ```
//!
//! The example `embedded` also connects a client, revokes its key and reads the metrics.
//!
//! | module | content |
//! | --- | --- |
//! | [`gateway`] | start, drain and stop a gateway |
//! | [`config`] | its configuration: addresses, workers, forward mode, limits |
//! | [`authorization`], [`identities`], [`keys`] | clients that may open a tunnel |
//! | [`counters`], [`drop_reason`], [`summary`] | counters of the workers, and their totals |

pub mod authorization;
#[doc(hidden)]
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
mod state;
mod status;
pub mod summary;
mod system_clock;
mod topology;
mod turn_watch;
mod worker;

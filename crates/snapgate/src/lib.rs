//! The data plane of a SCION Network Access Point: terminates SNAPtun tunnels and forwards the SCION packets in them.
//!
//! The command `snapgate` is the usual way to run a gateway. This library runs one inside another program, with the
//! program's own [authorization](authorization::SnapTunAuthorization), [forward mode](config::Forward) and metrics
//! registry. A [`Gateway`](gateway::Gateway) starts threads and binds sockets. It installs no logger, panic hook or
//! signal handler and changes no attribute of the process; log events go to the program's `tracing` subscriber, if it
//! has one. Linux only.
//!
//! # Embedding
//!
//! - The library is not asynchronous. [`start`](gateway::Gateway::start), [`drain`](gateway::Gateway::drain),
//!   [`stop`](gateway::Gateway::stop) and dropping a gateway wait; call them on a thread that may block, such as one of
//!   `tokio::task::spawn_blocking`. All other methods return at once. A `Gateway` is `Send` and `Sync`.
//! - A gateway runs one thread per worker and one that follows the clocks, one for HTTP with
//!   [`serve_metrics`](gateway::GatewayBuilder::serve_metrics), and one for the state file with
//!   [`state_dir`](gateway::GatewayBuilder::state_dir). Workers call the authorization of the program, and its
//!   `tracing` subscriber for events of the levels debug and trace, but no other code of it.
//! - The program watches [`failures`](gateway::Gateway::failures), and stops a gateway of which a worker failed.
//! - A program without rules of its own registers its clients in the gateway's
//!   [registry](authorization::Registry), next to a list of identities. To account traffic, it receives
//!   [records](gateway::GatewayBuilder::usage_records).
//! - The command `snapgate` also reloads the identities file, writes an accounting log, reacts to signals, notifies the
//!   service manager, and protects the memory of the process. An embedding program does this itself.
//! - When the system clock is set, the gateway asks for all grants again. The argument `now` of
//!   [`is_authorized`](authorization::SnapTunAuthorization::is_authorized) counts the time in which the host was
//!   suspended, which `Instant::now` does not: an authorization computes the end of a grant from that argument.
//! - After its virtual machine was restored from a snapshot, a program that learns of it calls
//!   [`end_sessions`](gateway::Gateway::end_sessions).
//! - Public types contain types of `crossbeam-channel` (failures, usage records), `prometheus-client` (the registry of
//!   metrics), `jiff` (times), `ipnet` and `scion-packet` (forwarding) and `x25519-dalek` (keys). A program that names
//!   them depends on the versions that this crate depends on.
//!
//! ```
//! use std::collections::HashSet;
//! use std::sync::RwLock;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::time::{Duration, Instant};
//!
//! use prometheus_client::registry::Registry;
//! use snapgate::authorization::{Grant, SessionData, SnapTunAuthorization};
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
//!     // Without a registration. With one, the usage records of the client's tunnels show it.
//!     type SessionData = SessionData;
//!
//!     fn is_authorized(&self, _: Instant, identity: &[u8; 32]) -> Option<Grant<SessionData>> {
//!         let is_subscriber = self.keys.read().ok()?.contains(identity);
//!         let session_data = SessionData::default();
//!         is_subscriber.then_some(Grant { expires: None, session_data })
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
//! The example `embedded` also connects a client, revokes its key and reads the metrics. Both keep the keys behind a
//! lock, which workers wait for: hold it for an insertion only, not while the keys are read from elsewhere.
//!
//! | module | content |
//! | --- | --- |
//! | [`gateway`] | start, drain and stop a gateway |
//! | [`config`] | its configuration: addresses, workers, forward mode, limits |
//! | [`authorization`], [`identities`], [`keys`] | clients that may open a tunnel |
//! | [`accounting`] | records of their traffic |
//! | [`counters`], [`drop_reason`], [`summary`] | counters of the workers, and their totals |

pub mod accounting;
mod address_wait;
pub mod authorization;
#[doc(hidden)]
pub mod cli;
pub mod config;
mod control_plane;
pub mod counters;
mod cpus;
mod drain;
pub mod drop_reason;
mod file_process;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gateway;
mod gateway_clock;
mod hardening;
mod http;
pub mod identities;
mod interfaces;
mod kernel_clock;
pub mod keys;
mod lock_release;
mod logging;
mod mailbox;
mod metrics;
mod open_files;
mod outbox;
mod pinning;
#[cfg(test)]
mod reference;
mod reload;
mod repeated_warning;
mod service;
mod service_manager;
mod session_endings;
mod shutdown;
mod signals;
mod standard_streams;
mod state;
mod status;
pub mod summary;
mod system_clock;
mod topology;
mod turn_watch;
mod worker;

//! Errors of starting a gateway, with remedies.

use std::io;
use std::net::SocketAddr;

use udp_shards::{BindError, InterfaceName};

use super::remedy::{bind_remedy, metrics_remedy, thread_remedy};
use crate::state::StateError;

/// Error of starting a gateway. The text says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The clock of the tunnels does not advance.
    #[error(
        "the clock of the tunnels does not advance, so sessions would never be renewed or expire: this program was \
         built with the feature mock_instant of ana-gotatun; build it with `cargo build --release` in a workspace \
         without packages that enable this feature"
    )]
    FrozenClock,
    /// A listen or internal address cannot be bound.
    #[error("cannot listen: {0}; {remedy}", remedy = bind_remedy(.0))]
    Bind(#[from] BindError),
    /// A listen or internal address is the broadcast address of a network of this host.
    #[error(
        "cannot listen on {0}: it is the broadcast address of a network; use an address of this host"
    )]
    Broadcast(SocketAddr),
    /// An interface disappeared after sockets were bound to it.
    #[error(
        "cannot find the interface {interface}: {source}; check that it exists (ip link lists them)"
    )]
    Interface {
        /// The configured interface.
        interface: InterfaceName,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The metrics address cannot be bound.
    #[error(
        "cannot serve metrics on {address}: {source}; {remedy}",
        remedy = metrics_remedy(.address, .source)
    )]
    Metrics {
        /// The configured address.
        address: SocketAddr,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A worker's thread or its poll cannot be created.
    #[error(
        "cannot start worker {worker}: {source}; {remedy}",
        remedy = thread_remedy(.source)
    )]
    Worker {
        /// Index of the worker.
        worker: usize,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A worker is not allowed to run on its CPU.
    #[error(
        "worker {worker} cannot run on CPU {cpu}: it is not in the affinity mask of the process; choose other CPUs \
         with --cpus, or --cpus none to leave the choice to the kernel"
    )]
    Pin {
        /// Index of the worker.
        worker: usize,
        /// The CPU.
        cpu: usize,
    },
    /// The thread that reads the system clock cannot be started.
    #[error("cannot start a thread: {0}; {remedy}", remedy = thread_remedy(.0))]
    Clock(io::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kernel returned no random numbers.
    #[error(
        "cannot generate a dispatch key: {0}; check that no sandbox (SystemCallFilter= of the service) forbids \
         getrandom"
    )]
    Random(io::Error),
}

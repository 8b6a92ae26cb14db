//! Errors of starting a gateway, with remedies.

use std::io;
use std::net::SocketAddr;

use udp_shards::BindError;

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
    /// The metrics address cannot be bound.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another address, or stop the process that uses it \
         (ss -ltnp shows it)"
    )]
    Metrics {
        /// The configured address.
        address: SocketAddr,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A worker's thread or its poll cannot be created.
    #[error(
        "cannot start worker {worker}: {source}; use fewer workers, or raise the limits of open files \
         and threads (LimitNOFILE= and TasksMax= of the service, ulimit -n and -u)"
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
    #[error("cannot start a thread: {0}; raise its limit (TasksMax= of the service, ulimit -u)")]
    Clock(io::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kernel returned no random numbers.
    #[error("cannot generate a dispatch key: {0}")]
    Random(io::Error),
}

/// Returns the remedy for an address that cannot be bound.
fn bind_remedy(error: &BindError) -> &'static str {
    let source = match error {
        BindError::AddressInUse { .. } => {
            return "stop the process that uses it (ss -lunp shows it), or choose another port";
        }
        BindError::Refused { source, .. } => source,
        _ => return "use fewer workers",
    };
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "use an address that an interface of this host has (ip address shows them)"
        }
        io::ErrorKind::PermissionDenied => {
            "choose a port above 1023, or give the process CAP_NET_BIND_SERVICE"
        }
        _ => {
            "if too many files are open, raise the limit (LimitNOFILE= of the service, ulimit -n) or \
             use fewer workers"
        }
    }
}

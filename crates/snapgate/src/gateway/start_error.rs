//! Why a gateway cannot start, and what to do about it.

use std::io;
use std::net::SocketAddr;

use udp_shards::BindError;

use crate::state::StateError;

/// Why a gateway could not start. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The clock that tunnels go by stands still.
    #[error(
        "the clock of the tunnels stands still, so no session would be renewed or expire: this program was built \
         with the feature mock_instant of ana-gotatun; build it with `cargo build --release`, in no workspace that \
         has packages with that feature"
    )]
    FrozenClock,
    /// A listen or internal address cannot be had.
    #[error("cannot listen: {0}; {remedy}", remedy = bind_remedy(.0))]
    Bind(#[from] BindError),
    /// The metrics address cannot be had.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another address, or stop what uses it \
         (ss -ltnp shows it)"
    )]
    Metrics {
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A worker's thread cannot be started.
    #[error(
        "cannot start worker {worker}: {source}; use fewer workers, or raise the limits of open files \
         and threads (LimitNOFILE= and TasksMax= of the service, ulimit -n and -u)"
    )]
    Worker {
        /// Index of the worker.
        worker: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A worker cannot run on the CPU that was chosen for it.
    #[error(
        "worker {worker} cannot run on CPU {cpu}: the process is not allowed to; choose other CPUs \
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
    /// The kernel has no random numbers.
    #[error("cannot draw a dispatch key: {0}")]
    Random(io::Error),
}

/// What to do about an address that cannot be had.
fn bind_remedy(error: &BindError) -> &'static str {
    let source = match error {
        BindError::AddressInUse { .. } => {
            return "stop what uses it (ss -lunp shows it), or choose another port";
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

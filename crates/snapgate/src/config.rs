//! The effective configuration: everything resolved and checked, nothing left to look up.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use snaptun::ShardConfig;
use snaptun::SnapTunAuthorization;
pub use udp_shards::{Dispatch, SocketOptions};

#[doc(hidden)]
pub use self::values::parse_dispatch;
pub use self::workers::place_workers;
pub use crate::config::forward::{Forward, InternalFrom, ScionForward, ScmpErrorLimits};
use crate::config::options::Options;
pub use crate::cpus::AvailableCpus;
use crate::identities::Identity;
use crate::keys::PrivateKey;

pub(crate) mod fault;
pub(crate) mod file;
mod forward;
pub(crate) mod given;
pub(crate) mod options;
pub(crate) mod place;
pub(crate) mod problem;
pub(crate) mod resolve;
pub(crate) mod setting;
pub(crate) mod settings;
pub(crate) mod text_file;
pub(crate) mod toml_file;
pub(crate) mod values;
pub(crate) mod workers;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where tunnels come in: at least one address, no duplicates.
    pub listen: Vec<SocketAddr>,
    /// How many workers, and why that many.
    pub workers: WorkerCount,
    /// The CPU of each worker.
    pub cpus: CpuPinning,
    /// The gateway's static private key.
    pub private_key: PrivateKey,
    /// Who may open a tunnel.
    pub authorization: Authorization,
    /// Where tunnels are kept for the process after this one; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Where decrypted packets go.
    pub forward: Forward,
    /// Who brings a datagram to the worker of its tunnel.
    pub dispatch: Dispatch,
    /// Trains and buffers of all sockets.
    pub sockets: SocketOptions,
    /// Bounds of each worker's shard, and of the handshakes of all workers. `directory_changes` follows from
    /// `state_dir`.
    pub limits: ShardConfig,
    /// Identities whose handshakes are remembered so that none is accepted twice: at least so many, in
    /// all workers together.
    pub remembered_identities: usize,
    /// How far ahead of the system clock the timestamp of a handshake may be.
    pub handshake_timestamp_tolerance: Duration,
    /// Where the metrics are served over HTTP; `None` serves none.
    pub metrics: Option<SocketAddr>,
}

impl Config {
    /// One worker that runs wherever the scheduler puts it and listens on `listen`, with the
    /// defaults for all that is not an argument.
    pub fn new(
        listen: SocketAddr,
        private_key: PrivateKey,
        authorization: Authorization,
        forward: Forward,
    ) -> Self {
        Self {
            listen: vec![listen],
            ..Self::with_options(Options::default(), private_key, authorization, forward)
        }
    }

    /// One worker that runs wherever the scheduler puts it and listens nowhere yet.
    pub(crate) fn with_options(
        options: Options,
        private_key: PrivateKey,
        authorization: Authorization,
        forward: Forward,
    ) -> Self {
        Self {
            listen: Vec::new(),
            workers: WorkerCount {
                count: NonZeroUsize::MIN,
                reason: WorkerReason::Configured,
            },
            cpus: CpuPinning::Unpinned,
            private_key,
            authorization,
            state_dir: None,
            forward,
            dispatch: options.dispatch,
            sockets: options.sockets,
            limits: options.limits,
            remembered_identities: options.remembered_identities,
            handshake_timestamp_tolerance: options.handshake_timestamp_tolerance,
            metrics: options.metrics,
        }
    }
}

/// The number of workers and the reason for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerCount {
    /// Worker threads, each with one shard and its own sockets.
    pub count: NonZeroUsize,
    /// Why that many.
    pub reason: WorkerReason,
}

/// Why there are that many workers. `Display` completes the sentence "2 workers: ...".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerReason {
    /// The operator said so.
    Configured,
    /// One for each CPU that the operator listed.
    CpuList {
        /// CPUs in the list.
        cpus: usize,
    },
    /// One for each CPU that this process may run on.
    AffinityMask {
        /// CPUs in the mask.
        cpus: usize,
    },
    /// As many as the CPU time of the control group keeps busy.
    CgroupQuota {
        /// Thousandths of a CPU: 1500 is one and a half.
        millicpus: u64,
    },
}

impl fmt::Display for WorkerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("as configured"),
            Self::CpuList { cpus } => write!(f, "CPUs listed: {cpus}"),
            Self::AffinityMask { cpus } => write!(f, "CPUs in the affinity mask: {cpus}"),
            Self::CgroupQuota { millicpus } => {
                write!(
                    f,
                    "CPUs in the cgroup quota: {}",
                    *millicpus as f64 / 1000.0
                )
            }
        }
    }
}

/// Which CPU each worker runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CpuPinning {
    /// The CPU of each worker, by the number of the worker: as many entries as workers, all
    /// different.
    Pinned(Vec<usize>),
    /// The kernel's scheduler moves the workers as it likes.
    Unpinned,
}

impl CpuPinning {
    /// The CPU of a worker, if it has a fixed one.
    pub fn cpu_of(&self, worker: usize) -> Option<usize> {
        match self {
            Self::Pinned(cpus) => cpus.get(worker).copied(),
            Self::Unpinned => None,
        }
    }
}

/// Who may open a tunnel.
#[derive(Clone)]
pub enum Authorization {
    /// Everyone with a key: for tests and measurements.
    AnyIdentity,
    /// These and nobody else.
    Identities(Vec<Identity>),
    /// The identities that an embedding program authorizes.
    Custom(Arc<CustomAuthorization>),
}

/// Authorization by an embedding program.
pub type CustomAuthorization = dyn SnapTunAuthorization<SessionData = ()> + Send + Sync;

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyIdentity => f.write_str("AnyIdentity"),
            Self::Identities(identities) => f.debug_tuple("Identities").field(identities).finish(),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

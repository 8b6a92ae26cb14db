//! Configuration of a gateway, resolved and checked.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use snaptun::ShardConfig;
use snaptun::SnapTunAuthorization;
pub use udp_shards::{Dispatch, InterfaceName, SocketOptions};

#[doc(hidden)]
pub use self::values::parse_dispatch;
pub use self::workers::place_workers;
use crate::authorization::SessionData;
pub use crate::config::forward::{Forward, InternalFrom, ScionForward, ScmpErrorLimits};
use crate::config::options::Options;
pub use crate::cpus::AvailableCpus;
use crate::identities::Identity;
use crate::keys::PrivateKey;

pub(crate) mod control_plane;
pub(crate) mod fault;
pub(crate) mod file;
mod forward;
pub(crate) mod options;
pub(crate) mod place;
pub(crate) mod problem;
pub(crate) mod raw;
pub(crate) mod resolve;
pub(crate) mod setting;
pub(crate) mod settings;
pub(crate) mod text_file;
pub(crate) mod toml_file;
pub(crate) mod values;
pub(crate) mod workers;

/// Configuration of a gateway.
///
/// [`Gateway::start`](crate::gateway::Gateway::start) does not check the requirements of the fields; the command
/// `snapgate` does.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses for tunnels: at least one, without duplicates.
    pub listen: Vec<SocketAddr>,
    /// Network interface of the listen addresses, for example a VRF; see [`SocketOptions::interface`].
    pub listen_interface: Option<InterfaceName>,
    /// Number of workers.
    pub workers: WorkerCount,
    /// CPU of each worker.
    pub cpus: CpuPinning,
    /// Static private key of the gateway.
    pub private_key: PrivateKey,
    /// Clients that may open a tunnel.
    pub authorization: Authorization,
    /// Directory that keeps a record of the tunnels for the next process, if any.
    pub state_dir: Option<PathBuf>,
    /// Handling of decrypted packets.
    pub forward: Forward,
    /// Path of a datagram to the worker of its tunnel.
    pub dispatch: Dispatch,
    /// Trains and buffers of all sockets. `interface` is not used, see `listen_interface` and
    /// [`ScionForward::interface`].
    pub sockets: SocketOptions,
    /// Limits of each worker's shard, and of the handshakes of all workers. The gateway sets `directory_changes` if there
    /// is a `state_dir`, and `usage_records` if there is a receiver of records.
    pub limits: ShardConfig,
    /// Minimum number of identities, in all workers together, whose last handshake is remembered to reject replays.
    pub remembered_identities: usize,
    /// Maximum lead of a handshake's timestamp over the system clock.
    pub handshake_timestamp_tolerance: Duration,
    /// Address on which metrics are served over HTTP, if any.
    pub metrics: Option<SocketAddr>,
}

impl Config {
    /// Returns a configuration with one unpinned worker that listens on `listen`, and defaults for everything else.
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

    /// Returns a configuration with one unpinned worker and without listen addresses.
    pub(crate) fn with_options(
        options: Options,
        private_key: PrivateKey,
        authorization: Authorization,
        forward: Forward,
    ) -> Self {
        Self {
            listen: Vec::new(),
            listen_interface: options.listen_interface,
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

/// Number of workers and the reason for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerCount {
    /// Number of worker threads, each with one shard and its own sockets.
    pub count: NonZeroUsize,
    /// Reason for the number.
    pub reason: WorkerReason,
}

/// Reason for the number of workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerReason {
    /// The setting `workers`.
    Configured,
    /// One for each CPU in the setting `cpus`.
    CpuList {
        /// Number of CPUs in the list.
        cpus: usize,
    },
    /// One for each CPU that this process may run on.
    AffinityMask {
        /// Number of CPUs in the mask.
        cpus: usize,
    },
    /// One for each whole CPU of the control group's quota.
    CgroupQuota {
        /// CPU time in thousandths of a CPU.
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

/// Placement of the workers on CPUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CpuPinning {
    /// CPU of each worker, by the worker's index, without duplicates.
    Pinned(Vec<usize>),
    /// The kernel's scheduler places the workers.
    Unpinned,
}

impl CpuPinning {
    /// Returns the CPU of a pinned worker.
    pub fn cpu_of(&self, worker: usize) -> Option<usize> {
        match self {
            Self::Pinned(cpus) => cpus.get(worker).copied(),
            Self::Unpinned => None,
        }
    }
}

/// Clients that may open a tunnel.
#[derive(Clone)]
pub enum Authorization {
    /// Every client that knows the gateway's public key; for tests and measurements.
    AnyIdentity,
    /// The listed identities, which [`Gateway::replace_identities`](crate::gateway::Gateway::replace_identities) can
    /// replace, and those [registered](crate::authorization::Registry) later.
    Identities(Vec<Identity>),
    /// The identities that an embedding program authorizes.
    Custom(Arc<CustomAuthorization>),
}

/// Authorization by an embedding program.
pub type CustomAuthorization = dyn SnapTunAuthorization<SessionData = SessionData> + Send + Sync;

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyIdentity => f.write_str("AnyIdentity"),
            Self::Identities(identities) => f.debug_tuple("Identities").field(identities).finish(),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

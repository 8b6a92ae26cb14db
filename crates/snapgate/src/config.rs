//! The effective configuration: everything resolved and checked, nothing left to look up.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use scion_packet::IsdAs;
use snaptun::{ReplayGuard, ShardConfig};
pub use udp_shards::Dispatch;
use udp_shards::SocketOptions;

pub use self::values::parse_dispatch;
pub use self::workers::place_workers;
pub use crate::cpus::AvailableCpus;
use crate::identities::Identity;
use crate::keys::PrivateKey;

pub(crate) mod file;
pub(crate) mod given;
pub(crate) mod problem;
pub(crate) mod resolve;
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
    /// Send trains (UDP_SEGMENT).
    pub gso: bool,
    /// Receive trains (UDP_GRO).
    pub gro: bool,
    /// SO_RCVBUF of each socket, in bytes.
    pub receive_buffer_bytes: usize,
    /// SO_SNDBUF of each socket, in bytes.
    pub send_buffer_bytes: usize,
    /// Bounds of each worker's shard.
    pub limits: TunnelLimits,
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
        let sockets = SocketOptions::default();
        Self {
            listen: vec![listen],
            workers: WorkerCount {
                count: NonZeroUsize::MIN,
                reason: WorkerReason::Configured,
            },
            cpus: CpuPinning::Unpinned,
            private_key,
            authorization,
            state_dir: None,
            forward,
            dispatch: Dispatch::Kernel,
            gso: sockets.gso,
            gro: sockets.gro,
            receive_buffer_bytes: sockets.receive_buffer_bytes,
            send_buffer_bytes: sockets.send_buffer_bytes,
            limits: TunnelLimits::default(),
            remembered_identities: ReplayGuard::IDENTITIES_DEFAULT,
            handshake_timestamp_tolerance: ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT,
            metrics: None,
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
#[derive(Clone, Debug)]
pub enum Authorization {
    /// Everyone with a key: for tests and measurements.
    AnyIdentity,
    /// These and nobody else.
    Identities(Vec<Identity>),
}

/// Where decrypted packets go.
#[derive(Clone, Debug)]
pub enum Forward {
    /// To SCION routers, to other tunnels of this gateway and to hosts of the local AS.
    Scion(ScionForward),
    /// Back into the tunnel they came from.
    Echo,
    /// Nowhere: discarded, and counted as delivered.
    Sink,
}

/// The SCION side of the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScionForward {
    /// The address towards routers and hosts of the AS. Its port may be 0: the kernel chooses one.
    pub internal: SocketAddr,
    /// The router's internal address behind each interface of each local AS.
    pub next_hops: HashMap<(IsdAs, u16), SocketAddr>,
    /// The ASes of this gateway: at least one.
    pub local_isd_as: Vec<IsdAs>,
    /// Hosts of the AS that may be sent to directly; empty delivers to tunnels only.
    pub local_prefixes: Vec<IpNet>,
    /// Sources of which any packet is accepted at the internal address, besides the routers.
    pub internal_from: InternalFrom,
    /// Bounds of the SCMP errors that go into tunnels.
    pub scmp_error_limits: ScmpErrorLimits,
}

/// Sources of which any packet is accepted at the internal address, besides the routers. Other hosts
/// may send packets of which they are the SCION source, in a local AS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InternalFrom {
    /// Hosts in these prefixes.
    Prefixes(Vec<IpNet>),
    /// All hosts.
    Any,
}

impl Default for InternalFrom {
    /// No other sources.
    fn default() -> Self {
        Self::Prefixes(Vec::new())
    }
}

/// Bounds of the SCMP errors that go into tunnels. Errors of the gateway, errors from SCION and errors
/// from other tunnels are counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScmpErrorLimits {
    /// SCMP errors per second into one tunnel; and from the tunnels of one IP address into others.
    pub per_tunnel_per_second: u64,
    /// SCMP errors per second into all tunnels of one worker.
    pub per_second: u64,
}

impl ScmpErrorLimits {
    /// Burst of one tunnel: a client that tries all paths to its destinations gets an
    /// error for each that is broken.
    pub(crate) const fn tunnel_burst(self) -> u64 {
        self.per_tunnel_per_second.saturating_mul(2)
    }

    /// Burst of the tunnels of a worker: when a link fails, all of them get some.
    pub(crate) const fn worker_burst(self) -> u64 {
        self.per_second
    }
}

impl Default for ScmpErrorLimits {
    /// 100 for a tunnel, which is ten times the example of RFC 4443 (2.4(f)), since a client has
    /// many paths. 10,000 for a worker: some 2 % of the packets that a core forwards.
    fn default() -> Self {
        Self {
            per_tunnel_per_second: 100,
            per_second: 10_000,
        }
    }
}

/// Bounds of one worker's shard, and of the handshakes of all workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelLimits {
    /// Handshake messages per second from one IP address before it must prove with a cookie that it
    /// receives there.
    pub handshakes_per_ip_per_second: u64,
    /// Initiations per second and worker before every sender must show a cookie; all workers count together.
    pub handshakes_per_second: u64,
    /// Handshake messages with a cookie per second from one IP address.
    pub verified_handshakes_per_ip_per_second: u64,
    /// Initiations with a cookie per second and worker; all workers count together.
    pub verified_handshakes_per_second: u64,
    /// Initiations per second answered for one identity.
    pub handshakes_per_identity_per_second: u64,
    /// Handshakes per second begun for tunnels of the process before.
    pub restart_handshakes_per_second: u64,
    /// Tunnels of the worker.
    pub tunnels_per_worker: usize,
    /// Tunnels of one identity in the worker.
    pub tunnels_per_identity: usize,
    /// Tunnels of the worker that their clients have not used yet.
    pub half_open_tunnels: usize,
    /// How long nothing came from a client when its address and place may go to another.
    pub silent_after: Duration,
    /// Whether an identity's new tunnel ends its older ones.
    pub one_tunnel_per_identity: bool,
    /// Packets that wait for one tunnel's handshake.
    pub waiting_packets_per_tunnel: usize,
    /// Bytes that wait for one tunnel's handshake.
    pub waiting_bytes_per_tunnel: usize,
    /// Bytes that wait for handshakes of one identity in one worker.
    pub waiting_bytes_per_identity: usize,
    /// Bytes that wait in tunnels of one worker that their clients have not used yet.
    pub waiting_bytes_half_open: usize,
    /// Bytes that wait for handshakes in one worker.
    pub waiting_bytes_per_worker: usize,
}

impl TunnelLimits {
    /// The same for a shard.
    pub fn shard_config(&self) -> ShardConfig {
        ShardConfig {
            handshakes_per_second_per_ip: self.handshakes_per_ip_per_second,
            handshakes_per_second: self.handshakes_per_second,
            verified_handshakes_per_second_per_ip: self.verified_handshakes_per_ip_per_second,
            verified_handshakes_per_second: self.verified_handshakes_per_second,
            handshakes_per_second_per_identity: self.handshakes_per_identity_per_second,
            restart_handshakes_per_second: self.restart_handshakes_per_second,
            tunnels_per_shard: self.tunnels_per_worker,
            tunnels_per_identity: self.tunnels_per_identity,
            half_open_tunnels: self.half_open_tunnels,
            silent_after: self.silent_after,
            one_tunnel_per_identity: self.one_tunnel_per_identity,
            waiting_packets_per_tunnel: self.waiting_packets_per_tunnel,
            waiting_bytes_per_tunnel: self.waiting_bytes_per_tunnel,
            waiting_bytes_per_identity: self.waiting_bytes_per_identity,
            waiting_bytes_half_open: self.waiting_bytes_half_open,
            waiting_bytes_per_shard: self.waiting_bytes_per_worker,
            ..ShardConfig::default()
        }
    }
}

impl Default for TunnelLimits {
    fn default() -> Self {
        let shard = ShardConfig::default();
        Self {
            handshakes_per_ip_per_second: shard.handshakes_per_second_per_ip,
            handshakes_per_second: shard.handshakes_per_second,
            verified_handshakes_per_ip_per_second: shard.verified_handshakes_per_second_per_ip,
            verified_handshakes_per_second: shard.verified_handshakes_per_second,
            handshakes_per_identity_per_second: shard.handshakes_per_second_per_identity,
            restart_handshakes_per_second: shard.restart_handshakes_per_second,
            tunnels_per_worker: shard.tunnels_per_shard,
            tunnels_per_identity: shard.tunnels_per_identity,
            half_open_tunnels: shard.half_open_tunnels,
            silent_after: shard.silent_after,
            one_tunnel_per_identity: shard.one_tunnel_per_identity,
            waiting_packets_per_tunnel: shard.waiting_packets_per_tunnel,
            waiting_bytes_per_tunnel: shard.waiting_bytes_per_tunnel,
            waiting_bytes_per_identity: shard.waiting_bytes_per_identity,
            waiting_bytes_half_open: shard.waiting_bytes_half_open,
            waiting_bytes_per_worker: shard.waiting_bytes_per_shard,
        }
    }
}

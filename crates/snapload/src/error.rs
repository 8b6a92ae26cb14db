//! Errors of a load run.

use std::io;
use std::net::{IpAddr, SocketAddr};

use udp_shards::BindError;

/// Reason why a run has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system provides no random numbers.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(getrandom::Error),
    /// The limit on file descriptors is too low for the sockets of the tunnels.
    #[error(
        "the run needs {needed} file descriptors and the limit is {limit}; raise the limit (`ulimit -n {needed}`) \
         or use fewer tunnels"
    )]
    TooFewFileDescriptors {
        /// Number of file descriptors that the run needs.
        needed: u64,
        /// Limit of the process.
        limit: u64,
    },
    /// No route leads to the gateway.
    #[error("no route to {gateway}: {source}")]
    NoRoute {
        /// Address of the gateway.
        gateway: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The socket of a tunnel cannot be bound.
    #[error(
        "cannot bind the socket of tunnel {tunnel} to {address}: {source}; check that the address belongs to this \
         machine; if its ports are used up, spread the tunnels over more addresses (--source-ip)"
    )]
    Bind {
        /// Index of the tunnel.
        tunnel: usize,
        /// Address of the socket.
        address: IpAddr,
        /// Cause.
        source: BindError,
    },
    /// Fragmentation cannot be disabled on the socket of a tunnel.
    #[error("cannot set IP_MTU_DISCOVER on the socket of tunnel {tunnel}: {source}")]
    NeverFragment {
        /// Index of the tunnel.
        tunnel: usize,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The socket of a played router cannot be bound.
    #[error("cannot bind the router's socket: {0}")]
    BindRouter(BindError),
    /// Packets cannot be built, which is a bug.
    #[error("cannot build packets: {0}")]
    Packet(scion_packet::build::BuildError),
    /// A tunnel did not connect in time.
    #[error(
        "tunnel {tunnel} did not connect to {gateway} within {waited_seconds} s ({connected} of {tunnels} tunnels \
         connected): {reason}"
    )]
    Connect {
        /// Index of the first tunnel that did not connect.
        tunnel: usize,
        /// Address of the gateway.
        gateway: SocketAddr,
        /// Time allowed for connecting, in seconds.
        waited_seconds: f64,
        /// Number of tunnels connected by then.
        connected: usize,
        /// Number of tunnels of the run.
        tunnels: usize,
        /// Probable cause.
        reason: ConnectFailure,
    },
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A tunnel had no session when its packets were to be encrypted.
    #[error(
        "tunnel {tunnel} has no session to encrypt packets with; check that the gateway is running"
    )]
    NoSession {
        /// Index of the tunnel.
        tunnel: usize,
    },
    /// Encryption took so long that sessions would expire before their packets are sent.
    #[error(
        "pre-encryption took too long: sessions would expire while packets are sent; use a lower rate, a shorter \
         duration or more threads"
    )]
    SessionsTooOld,
    /// The packets encrypted for a thread were used up during the warm-up.
    #[error(
        "the pre-encrypted packets were used up during the warm-up; use a shorter warm-up, a rate instead of max, \
         or more memory (--pre-encrypt-memory)"
    )]
    UsedUpInWarmUp,
    /// The run was stopped before it had a result.
    #[error("interrupted before the first result")]
    Interrupted,
    /// A thread panicked, which is a bug.
    #[error("a generator thread panicked; this is a bug in snapload")]
    ThreadPanicked,
}

impl LoadError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Why a tunnel does not connect, as far as the client can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// ICMP port unreachable.
    #[error(
        "nothing listens there; check that the gateway is running and that the address is right"
    )]
    NothingListens,
    /// No answer. Gateways do not answer unauthorized clients.
    #[error(
        "no answer; check that the gateway authorizes this identity, that --public-key is the gateway's key, and \
         that the address is right"
    )]
    NoAnswer,
    /// Only cookie replies.
    #[error(
        "the gateway is under load and answers only with cookies; use fewer tunnels or more source addresses \
         (--source-ip)"
    )]
    CookiesOnly,
}

/// Fault of a [`LoadConfig`](crate::LoadConfig).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The gateway is on another machine, which is not allowed.
    #[error(
        "{0} is not on this machine; load on a wrong address can do harm, so add --allow-remote only if the gateway \
         is yours"
    )]
    RemoteGateway(SocketAddr),
    /// The gateway's address cannot be sent to.
    #[error("{0} is not a gateway address: expected an IP address and a port")]
    BadGateway(SocketAddr),
    /// The run has no identities, so no tunnels.
    #[error("expected at least one tunnel")]
    NoTunnels,
    /// More tunnels than [`MAX_TUNNELS`](crate::MAX_TUNNELS).
    #[error("expected at most {max} tunnels, got {0}", max = crate::MAX_TUNNELS)]
    TooManyTunnels(usize),
    /// Zero active tunnels, or more than there are tunnels.
    #[error("expected 1 to {tunnels} active tunnels, got {active}")]
    BadActive {
        /// Requested number of active tunnels.
        active: usize,
        /// Number of tunnels.
        tunnels: usize,
    },
    /// Zero threads, or more threads than active tunnels.
    #[error("expected 1 to {tunnels} threads for {tunnels} active tunnels, got {threads}")]
    BadThreads {
        /// Requested number of threads.
        threads: usize,
        /// Number of active tunnels.
        tunnels: usize,
    },
    /// The list of CPUs is empty.
    #[error("the list of CPUs is empty")]
    NoCpus,
    /// A requested CPU is not available.
    #[error("CPU {cpu} is not available to this process; it may use {}", list(.usable))]
    UnknownCpu {
        /// Requested CPU.
        cpu: usize,
        /// CPUs that exist and that the process may run on.
        usable: Vec<usize>,
    },
    /// The router's address has no port, too few ports above it, or the wrong IP version.
    #[error(
        "{0} is not a router address: expected a port, with a higher one for every further thread, and the IP version \
         of the gateway's internal address"
    )]
    BadRouter(SocketAddr),
    /// The interface is 0, or too high for one interface per thread.
    #[error("interface {0} is out of range: every thread needs one from 1 to 65535")]
    BadInterface(u16),
    /// The remote AS is the tunnels' own: its packets are hairpins and do not reach a router.
    #[error("the remote AS {0} is also the AS of the tunnels, so packets would not reach a router")]
    SameIsdAs(scion_packet::IsdAs),
    /// Packets too small for their headers and stamp, or too large for a datagram.
    #[error("expected packets of {min} to {max} bytes, got {size}")]
    BadSize {
        /// Requested size in bytes.
        size: usize,
        /// Smallest possible size.
        min: usize,
        /// Largest possible size.
        max: usize,
    },
    /// The rate is not a positive number, or too high.
    #[error("expected a rate above 0 and at most {max} packets/s")]
    BadRate {
        /// Highest possible rate.
        max: u64,
    },
    /// The range of rates is empty or exceeds the highest possible rate.
    #[error("expected search rates above 0 and at most {max}, the lowest below the highest")]
    BadRateRange {
        /// Highest possible rate.
        max: u64,
    },
    /// No loss target, or one that is out of range.
    #[error("expected at least one loss target, each from 0 to less than 100 %")]
    BadLossTarget,
    /// The precision of a search is out of range.
    #[error("expected a precision of 0.1 to 100 %")]
    BadPrecision,
    /// The train is empty, or longer than the kernel allows.
    #[error("expected trains of 1 to {max} packets, got {train}")]
    BadTrain {
        /// Requested length.
        train: u32,
        /// Longest possible train.
        max: u32,
    },
    /// The window is smaller than one train per thread.
    #[error("expected a window of at least {min} packets (one train per thread), got {window}")]
    BadWindow {
        /// Requested window.
        window: u32,
        /// Smallest possible window.
        min: u32,
    },
    /// Tunnels connect or leave during a closed loop.
    #[error("tunnels that connect or leave during the run need a rate: --rate max is not possible")]
    PresenceNeedsRate,
    /// Pre-encryption of packets from a router, which are not encrypted.
    #[error(
        "pre-encryption is not possible with direction down: packets from a router are not encrypted"
    )]
    NothingToPreEncrypt,
    /// Pre-encryption with sessions that do not last.
    #[error("pre-encryption is not possible for tunnels that come and go or rekey")]
    PreEncryptedSessionsEnd,
    /// Pre-encrypted packets whose sessions expire before they are sent.
    #[error(
        "pre-encrypted packets must be sent within {max_seconds} s, warm-up included, before their sessions expire"
    )]
    PreEncryptedTooLong {
        /// Longest possible time, in seconds.
        max_seconds: u64,
    },
    /// Pre-encryption needs more memory than allowed.
    #[error(
        "pre-encryption needs {needed_mib} MiB and {allowed_mib} MiB are allowed (--pre-encrypt-memory); use a \
         lower rate or a shorter duration or warm-up"
    )]
    PreEncryptMemory {
        /// Memory needed, in MiB.
        needed_mib: u64,
        /// Memory allowed, in MiB.
        allowed_mib: u64,
    },
    /// The duration is zero or too long.
    #[error("expected a duration above 0 and, with the warm-up, at most {max_hours} hours")]
    BadDuration {
        /// Longest possible duration with warm-up, in hours.
        max_hours: u64,
    },
    /// The report interval is too short.
    #[error("expected an interval of at least 1 ms")]
    BadInterval,
    /// The keepalive is not a whole number of seconds.
    #[error("expected a keepalive of 1 to 65535 whole seconds")]
    BadKeepalive,
    /// The source addresses and the gateway's address have different IP versions.
    #[error("the source addresses {0} and the gateway's address have different IP versions")]
    SourceFamily(ipnet::IpNet),
}

fn list(cpus: &[usize]) -> String {
    cpus.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

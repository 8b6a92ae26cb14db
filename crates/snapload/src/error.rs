//! Why a run gave no result.

use std::io;
use std::net::{IpAddr, SocketAddr};

use udp_shards::BindError;

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system gave no random numbers.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(getrandom::Error),
    /// The process may not open a socket per tunnel.
    #[error(
        "{needed} file descriptors are needed and {limit} are allowed; raise the limit \
         (`ulimit -n {needed}`) or use fewer tunnels"
    )]
    TooFewFileDescriptors {
        /// How many the run needs.
        needed: u64,
        /// How many the process may have.
        limit: u64,
    },
    /// There is no way to the gateway.
    #[error("no route to {gateway}: {source}")]
    NoRoute {
        /// The gateway's address.
        gateway: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// A tunnel's socket cannot be bound.
    #[error(
        "cannot bind the socket of tunnel {tunnel} to {address}: {source}; is it an address of \
         this machine? When its ports are used up, spread the tunnels over more addresses \
         (--source-ip)"
    )]
    Bind {
        /// Index of the tunnel.
        tunnel: usize,
        /// The address it was to be bound to.
        address: IpAddr,
        /// Why not.
        source: BindError,
    },
    /// A socket of a tunnel could not be told never to fragment.
    #[error("cannot set IP_MTU_DISCOVER on the socket of tunnel {tunnel}: {source}")]
    NeverFragment {
        /// Index of the tunnel.
        tunnel: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The socket that stands for a router cannot be bound.
    #[error("cannot bind the router's socket: {0}")]
    BindRouter(BindError),
    /// Packets cannot be written, which is a bug.
    #[error("cannot write packets: {0}")]
    Packet(scion_packet::build::BuildError),
    /// A tunnel did not connect.
    #[error(
        "tunnel {tunnel} did not connect to {gateway} within {waited_seconds} s ({connected} of \
         {tunnels} tunnels did): {reason}"
    )]
    Connect {
        /// Index of the first tunnel that did not connect.
        tunnel: usize,
        /// The gateway's address.
        gateway: SocketAddr,
        /// How long it was tried, in seconds.
        waited_seconds: f64,
        /// How many tunnels had connected by then.
        connected: usize,
        /// How many there were to be.
        tunnels: usize,
        /// What it looks like.
        reason: ConnectFailure,
    },
    /// Waiting for sockets or reading them failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What failed.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A tunnel lost its session before its packets were encrypted.
    #[error("tunnel {tunnel} has no session to encrypt its packets with; did the gateway stop?")]
    NoSession {
        /// Index of the tunnel.
        tunnel: usize,
    },
    /// Encrypting took so long that sessions would end before the packets are sent.
    #[error(
        "encrypting beforehand took too long: sessions would end while packets are sent; use a \
         lower rate, a shorter duration or more threads"
    )]
    SessionsTooOld,
    /// A thread had sent everything that was encrypted for it before packets were counted.
    #[error(
        "the packets encrypted beforehand were used up during the warm-up; use a shorter warm-up, a \
         rate instead of the maximum, or encrypt more of them"
    )]
    UsedUpInWarmUp,
    /// It was told to stop before there was anything to report.
    #[error("interrupted before there was a result")]
    Interrupted,
    /// A thread died, which is a bug.
    #[error("a generator thread panicked; this is a bug in snapload")]
    ThreadPanicked,
}

impl LoadError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// What a tunnel that does not connect looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// ICMP says that nobody has the port.
    #[error("nothing listens there; is the gateway running, and is the address right?")]
    NothingListens,
    /// Silence: gateways answer strangers with nothing.
    #[error(
        "no answer; is the identity authorized at the gateway, is --public-key the gateway's, and \
         is the address right?"
    )]
    NoAnswer,
    /// Cookie replies and nothing else.
    #[error(
        "the gateway is under load and answers with cookies only; use fewer tunnels or more source \
         addresses (--source-ip)"
    )]
    CookiesOnly,
}

/// What is wrong with a [`LoadConfig`](crate::LoadConfig).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The gateway is on another machine and that is not allowed.
    #[error(
        "{0} is not on this machine; generating load against others may be an attack, so give \
         --allow-remote if the gateway is yours"
    )]
    RemoteGateway(SocketAddr),
    /// The gateway's address is no place to send to.
    #[error("{0} is no address of a gateway: it needs an IP address and a port")]
    BadGateway(SocketAddr),
    /// There is no identity, so no tunnel.
    #[error("there must be at least one tunnel")]
    NoTunnels,
    /// More tunnels than [`MAX_TUNNELS`](crate::MAX_TUNNELS).
    #[error("{0} tunnels are too many; use at most {max}", max = crate::MAX_TUNNELS)]
    TooManyTunnels(usize),
    /// No active tunnel, or more than there are.
    #[error("{active} of {tunnels} tunnels cannot be active; use 1 to {tunnels}")]
    BadActive {
        /// The active tunnels asked for.
        active: usize,
        /// The tunnels.
        tunnels: usize,
    },
    /// No thread, or more threads than active tunnels.
    #[error("{threads} threads cannot share {tunnels} active tunnels; use 1 to {tunnels} threads")]
    BadThreads {
        /// The threads asked for.
        threads: usize,
        /// The tunnels that carry packets.
        tunnels: usize,
    },
    /// The list of CPUs is empty.
    #[error("the list of CPUs is empty")]
    NoCpus,
    /// There is no such CPU.
    #[error("there is no CPU {cpu} for this process; it may use {}", list(.usable))]
    UnknownCpu {
        /// The CPU asked for.
        cpu: usize,
        /// Those that exist and that the process may run on.
        usable: Vec<usize>,
    },
    /// The router's address has no port, or not enough ports after it, or is of the wrong family.
    #[error(
        "{0} is no address for routers: it needs a port, with a free one after it for every other \
         thread, and the IP version of the gateway's internal address"
    )]
    BadRouter(SocketAddr),
    /// Interface 0 is none, and every thread has one.
    #[error("interface {0} is not possible: interfaces count from 1 to 65535, one per thread")]
    BadInterface(u16),
    /// A packet to the own AS is a hairpin: it reaches no router.
    #[error("the remote AS {0} is that of the tunnels: packets would not go through a router")]
    SameIsdAs(scion_packet::IsdAs),
    /// Packets are too small for their headers and stamp, or too large for a datagram.
    #[error("packets of {size} bytes are not possible; use {min} to {max} bytes")]
    BadSize {
        /// The size asked for.
        size: usize,
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// The rate is no positive number.
    #[error("the rate must be more than 0 packets a second and at most {max}")]
    BadRate {
        /// The highest.
        max: u64,
    },
    /// The range of rates is empty or goes beyond what is possible.
    #[error("the rates to search must be more than 0, the lowest below the highest, at most {max}")]
    BadRateRange {
        /// The highest.
        max: u64,
    },
    /// No loss target, or one that is no share.
    #[error("a loss target is at least 0 and less than 100 %, and there must be one")]
    BadLossTarget,
    /// The precision of a search is no share, or one beyond what a measurement gives.
    #[error("the precision must be 0.1 to 100 %")]
    BadPrecision,
    /// The train is empty or longer than the kernel takes.
    #[error("a train of {train} packets is not possible; use 1 to {max} packets")]
    BadTrain {
        /// The length asked for.
        train: u32,
        /// The longest.
        max: u32,
    },
    /// The window is smaller than a train per thread.
    #[error("a window of {window} packets is too small; use at least {min}: a train per thread")]
    BadWindow {
        /// The window asked for.
        window: u32,
        /// The smallest.
        min: u32,
    },
    /// Tunnels come and go, and the rate is that of the replies.
    #[error("tunnels that come and go need a rate of their own: the closed loop has none")]
    ComingsWithoutSchedule,
    /// Packets from a router are not encrypted.
    #[error("there is nothing to encrypt beforehand: packets from a router are in no tunnel")]
    NothingToPreEncrypt,
    /// Packets are encrypted for sessions, which do not stay.
    #[error(
        "packets cannot be encrypted beforehand for tunnels that come and go or begin new sessions"
    )]
    PreEncryptedSessionsEnd,
    /// Sessions end before the packets are sent.
    #[error(
        "packets that are encrypted beforehand must be sent within {max_seconds} s, warm-up \
         included: then their sessions end"
    )]
    PreEncryptedTooLong {
        /// The longest time.
        max_seconds: u64,
    },
    /// Encrypting beforehand takes more memory than allowed.
    #[error(
        "encrypting beforehand takes {needed_mib} MiB and {allowed_mib} MiB are allowed \
         (--pre-encrypt-memory); use a lower rate or a shorter duration or warm-up"
    )]
    PreEncryptMemory {
        /// What it takes.
        needed_mib: u64,
        /// What is allowed.
        allowed_mib: u64,
    },
    /// Nothing would be sent.
    #[error("the duration must be more than 0 and at most {max_hours} hours")]
    BadDuration {
        /// The longest, with warm-up.
        max_hours: u64,
    },
    /// Intervals of no length.
    #[error("the interval must be at least 1 ms")]
    BadInterval,
    /// A keepalive is a whole number of seconds.
    #[error("the keepalive must be a whole number of seconds, 1 to 65535")]
    BadKeepalive,
    /// The source addresses are of another address family than the gateway's.
    #[error("the source addresses {0} are of another IP version than the gateway's address")]
    SourceFamily(ipnet::IpNet),
}

fn list(cpus: &[usize]) -> String {
    cpus.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

//! Where packets go that come out of tunnels.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use scion_packet::IsdAs;

/// Where decrypted packets go: the one list of forward modes. `S` is what the caller has for the SCION side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forward<S = ScionForward> {
    /// By their SCION header.
    Scion(S),
    /// Back into the tunnel they came from.
    Echo,
    /// Nowhere: discarded, and counted as delivered.
    Sink,
}

impl Forward<()> {
    /// Every mode, the default first.
    pub const MODES: [Self; 3] = [Self::Scion(()), Self::Echo, Self::Sink];
}

impl<S> Forward<S> {
    /// The value of the setting `forward`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Scion(_) => "scion",
            Self::Echo => "echo",
            Self::Sink => "sink",
        }
    }

    /// What happens to packets from tunnels: "packets are ...".
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Scion(_) => {
                "sent to the router of their first hop's interface, into another tunnel (hairpin), or to a host in a \
                 local_prefix"
            }
            Self::Echo => "sent back into their own tunnel: for tests of load and latency",
            Self::Sink => "discarded and counted as delivered: for tests of load",
        }
    }

    /// The same mode with another SCION side.
    pub fn map<T>(&self, scion: impl FnOnce(&S) -> T) -> Forward<T> {
        match self {
            Self::Scion(side) => Forward::Scion(scion(side)),
            Self::Echo => Forward::Echo,
            Self::Sink => Forward::Sink,
        }
    }

    /// The SCION side, if packets go there.
    pub const fn scion(&self) -> Option<&S> {
        match self {
            Self::Scion(side) => Some(side),
            Self::Echo | Self::Sink => None,
        }
    }
}

impl<S> Forward<Option<S>> {
    /// `None` if the SCION side is missing.
    pub(crate) fn transpose(self) -> Option<Forward<S>> {
        match self {
            Self::Scion(side) => side.map(Forward::Scion),
            Self::Echo => Some(Forward::Echo),
            Self::Sink => Some(Forward::Sink),
        }
    }
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

//! Handling of packets from tunnels.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use scion_packet::IsdAs;
use udp_shards::InterfaceName;

/// Forward mode: the handling of decrypted packets from tunnels. `S` is the caller's data for the SCION side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forward<S = ScionForward> {
    /// Forwards packets by their SCION header.
    Scion(S),
    /// Sends packets back into their tunnel.
    Echo,
    /// Discards packets, and counts them as delivered.
    Sink,
}

impl Forward<()> {
    /// All modes, the default first.
    pub const MODES: [Self; 3] = [Self::Scion(()), Self::Echo, Self::Sink];
}

impl<S> Forward<S> {
    /// Returns the value of the setting `forward`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Scion(_) => "scion",
            Self::Echo => "echo",
            Self::Sink => "sink",
        }
    }

    /// Describes the mode; completes the sentence "packets from tunnels are ...".
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Scion(_) => {
                "sent to the router of their first interface, into another tunnel (hairpin), or to a \
                 host in a local_prefix"
            }
            Self::Echo => "sent back into the same tunnel, for load and latency tests",
            Self::Sink => "discarded and counted as delivered, for load tests",
        }
    }

    /// Returns the mode with another SCION side.
    pub fn map<T>(&self, scion: impl FnOnce(&S) -> T) -> Forward<T> {
        match self {
            Self::Scion(side) => Forward::Scion(scion(side)),
            Self::Echo => Forward::Echo,
            Self::Sink => Forward::Sink,
        }
    }

    /// Returns the SCION side of the mode `scion`.
    pub const fn scion(&self) -> Option<&S> {
        match self {
            Self::Scion(side) => Some(side),
            Self::Echo | Self::Sink => None,
        }
    }
}

impl<S> Forward<Option<S>> {
    /// Returns the mode, or `None` if the SCION side is missing.
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
    /// Address towards routers and hosts of the AS. With port 0 the kernel chooses the port.
    pub internal: SocketAddr,
    /// Network interface of the internal address, for example a VRF; see
    /// [`SocketOptions::interface`](udp_shards::SocketOptions::interface).
    pub interface: Option<InterfaceName>,
    /// Internal address of the router behind each interface of each local AS, by AS and interface identifier. Packets
    /// to an interface that is missing are dropped and answered with an SCMP error.
    pub next_hops: HashMap<(IsdAs, u16), SocketAddr>,
    /// ASes of the gateway, at least one.
    pub local_isd_as: Vec<IsdAs>,
    /// Hosts of the AS that packets may be sent to directly. If empty, packets within the AS go to tunnels only.
    pub local_prefixes: Vec<IpNet>,
    /// Hosts besides the routers that may send any packet to the internal address.
    pub internal_from: InternalFrom,
    /// Limits of SCMP errors into tunnels.
    pub scmp_error_limits: ScmpErrorLimits,
}

/// Hosts besides the routers that may send any packet to the internal address. Other hosts may send packets of which
/// they are the SCION source, in a local AS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InternalFrom {
    /// Hosts in these prefixes.
    Prefixes(Vec<IpNet>),
    /// All hosts.
    Any,
}

impl Default for InternalFrom {
    /// Returns an empty list of prefixes.
    fn default() -> Self {
        Self::Prefixes(Vec::new())
    }
}

/// Limits of SCMP errors into tunnels, with separate budgets for errors of the gateway, from SCION and from other
/// tunnels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScmpErrorLimits {
    /// SCMP errors per second into one tunnel, and from the tunnels of one IP address into other tunnels.
    pub per_tunnel_per_second: u64,
    /// SCMP errors per second into all tunnels of one worker.
    pub per_second: u64,
}

impl ScmpErrorLimits {
    /// Returns the burst of one tunnel: a client that tries all its paths gets an error for each broken one.
    pub(crate) const fn tunnel_burst(self) -> u64 {
        self.per_tunnel_per_second.saturating_mul(2)
    }

    /// Returns the burst of all tunnels of a worker: the failure of a link causes errors for all of them.
    pub(crate) const fn worker_burst(self) -> u64 {
        self.per_second
    }
}

impl Default for ScmpErrorLimits {
    /// Returns 100 for a tunnel, ten times the example of RFC 4443 (2.4(f)) because a client has many paths, and
    /// 10,000 for a worker, about 2 % of the packets that a core forwards.
    fn default() -> Self {
        Self {
            per_tunnel_per_second: 100,
            per_second: 10_000,
        }
    }
}

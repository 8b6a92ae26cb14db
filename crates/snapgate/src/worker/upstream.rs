//! Routing of SCION packets that come out of a tunnel.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use scion_packet::{
    Host, IncomingPolicy, IsdAs, PolicyViolation, ScionPacket, delivery_port, egress_interface,
    is_unicast,
};

use crate::config::{Forward, InternalFrom, ScionForward, ScmpErrorLimits};
use crate::drop_reason::{AdmissionError, DropReason, RouteError};
use crate::worker::lanes::{SHARED, host};

/// The forward mode, with the SCION side of a worker.
pub(crate) type Upstream = Forward<Box<ScionUpstream>>;

/// The SCION side of the gateway: admission and routes.
pub(crate) struct ScionUpstream {
    /// Rules for packets from endhosts.
    pub(crate) policy: IncomingPolicy,
    pub(crate) scmp_error_limits: ScmpErrorLimits,
    sources: InternalSources,
    /// Source of the SCMP errors that the gateway sends into tunnels.
    pub(crate) internal: SocketAddr,
    local_isd_as: Vec<IsdAs>,
    /// Address and lane of the router behind each interface.
    next_hops: HashMap<(IsdAs, u16), (SocketAddr, usize), ahash::RandomState>,
    local_prefixes: Vec<IpNet>,
}

/// A destination of a packet from a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// The router that owns the first hop's interface.
    Router {
        /// Internal address.
        address: SocketAddr,
        /// Index of its lane.
        lane: usize,
    },
    /// A host in a local AS, by the remote address that its tunnel would have.
    Local(SocketAddr),
}

/// Returns the addresses of the configured routers. Each gets a lane.
pub(crate) fn routers(config: &ScionForward) -> BTreeSet<SocketAddr> {
    config.next_hops.values().copied().collect()
}

impl ScionUpstream {
    /// `internal` is the address that the upstream sockets are bound to, `lanes` the lanes of routers. The others share
    /// one.
    pub(crate) fn new(
        config: &ScionForward,
        internal: SocketAddr,
        lanes: &HashMap<SocketAddr, usize>,
    ) -> Self {
        let lane_of = |router| lanes.get(&router).copied().unwrap_or(SHARED);
        Self {
            policy: IncomingPolicy {
                local_isd_as: config.local_isd_as.clone(),
            },
            scmp_error_limits: config.scmp_error_limits,
            sources: InternalSources::new(config),
            internal,
            local_isd_as: config.local_isd_as.clone(),
            next_hops: config
                .next_hops
                .iter()
                .map(|(&hop, &router)| (hop, (router, lane_of(router))))
                .collect(),
            local_prefixes: config.local_prefixes.clone(),
        }
    }

    /// Returns the route of `packet`: by its destination within a local AS, otherwise by its path.
    pub(crate) fn route(&self, packet: &ScionPacket<'_>) -> Result<Route, DropReason> {
        if self.local_isd_as.contains(&packet.dst_isd_as()) {
            return Ok(Route::Local(tunnel_address(packet)?));
        }
        let interface = egress_interface(packet)?;
        self.next_hops
            .get(&(packet.src_isd_as(), interface))
            .map(|&(address, lane)| Route::Router { address, lane })
            .ok_or(DropReason::Route(RouteError::NoNextHop))
    }

    /// Returns true if bare SCION packets may be sent to `host`: a unicast socket address inside the configured
    /// prefixes, because the gateway must not be an open UDP reflector. The kernel takes 0.0.0.0 and :: for the
    /// gateway's host.
    pub(crate) fn serves_endhost(&self, host: SocketAddr) -> bool {
        host.port() != 0
            && is_unicast(host.ip())
            && self
                .local_prefixes
                .iter()
                .any(|prefix| prefix.contains(&host.ip()))
    }
}

impl Upstream {
    /// Returns the endhost that sent datagrams from `from` to the internal address and must be their SCION source;
    /// `None` if any packet is accepted from there.
    pub(crate) fn endhost(&self, from: SocketAddr) -> Option<IpAddr> {
        let is_endhost = !self.scion()?.sources.contain(from);
        is_endhost.then(|| from.ip())
    }

    /// Checks that `packet` may come to the internal address from `endhost`.
    pub(crate) fn check_endhost(
        &self,
        packet: &ScionPacket<'_>,
        endhost: IpAddr,
    ) -> Result<(), DropReason> {
        let Self::Scion(scion) = self else {
            return Ok(());
        };
        scion
            .policy
            .check_host(packet, endhost)
            .map_err(|violation| match violation {
                PolicyViolation::ForeignSourceHost | PolicyViolation::ForeignSourceIsdAs => {
                    DropReason::Admission(AdmissionError::ForeignSource)
                }
                violation => DropReason::Policy(violation),
            })
    }
}

/// Sources from which any packet is accepted at the internal address: routers, which forward for everyone, and
/// configured prefixes.
///
/// A router is identified by its IP address, with any port. The open-source router sends from the address at which it
/// receives, but a router that spreads its load over several source ports would be cut off, and a host that can send
/// from the address of a router can usually choose the port as well.
struct InternalSources {
    any: bool,
    /// IP address and, for link-local addresses, the interface index.
    routers: HashSet<(IpAddr, u32), ahash::RandomState>,
    prefixes: Vec<IpNet>,
}

impl InternalSources {
    fn new(config: &ScionForward) -> Self {
        let (any, prefixes) = match &config.internal_from {
            InternalFrom::Any => (true, Vec::new()),
            InternalFrom::Prefixes(prefixes) => (false, prefixes.clone()),
        };
        let routers = config.next_hops.values().copied().map(host);
        Self {
            any,
            routers: routers.collect(),
            prefixes,
        }
    }

    fn contain(&self, from: SocketAddr) -> bool {
        self.any
            || self.routers.contains(&host(from))
            || self
                .prefixes
                .iter()
                .any(|prefix| prefix.contains(&from.ip()))
    }
}

/// Returns the remote address of the tunnel that `packet` is for.
pub(crate) fn tunnel_address(packet: &ScionPacket<'_>) -> Result<SocketAddr, DropReason> {
    let Host::Ip(host) = packet.dst_host() else {
        return Err(DropReason::Route(RouteError::NoHostAddress));
    };
    Ok(SocketAddr::new(host, delivery_port(packet)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(routers: &[&str], internal_from: InternalFrom) -> InternalSources {
        let isd_as = IsdAs::from_u64(1);
        InternalSources::new(&ScionForward {
            internal: "127.0.0.1:0".parse().unwrap(),
            interface: None,
            next_hops: (1..)
                .zip(routers)
                .map(|(interface, router)| ((isd_as, interface), router.parse().unwrap()))
                .collect(),
            local_isd_as: vec![isd_as],
            local_prefixes: Vec::new(),
            internal_from,
            scmp_error_limits: ScmpErrorLimits::default(),
        })
    }

    fn contain(sources: &InternalSources, from: &str) -> bool {
        sources.contain(from.parse().unwrap())
    }

    #[test]
    fn a_prefix_serves_unicast_hosts_only() {
        let prefixes = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"];
        let isd_as = IsdAs::from_u64(1);
        let internal = "127.0.0.1:30100".parse().unwrap();
        let upstream = ScionUpstream::new(
            &ScionForward {
                internal,
                interface: None,
                next_hops: HashMap::new(),
                local_isd_as: vec![isd_as],
                local_prefixes: prefixes.map(|prefix| prefix.parse().unwrap()).to_vec(),
                internal_from: InternalFrom::default(),
                scmp_error_limits: ScmpErrorLimits::default(),
            },
            internal,
            &HashMap::new(),
        );
        for host in ["192.0.2.1:1", "[2001:db8::1]:65535"] {
            assert!(upstream.serves_endhost(host.parse().unwrap()), "{host}");
        }
        for other in [
            "192.0.2.1:0",
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            assert!(!upstream.serves_endhost(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn routers_are_identified_by_ip_address() {
        let sources = sources(
            &["10.0.0.1:31002", "[2001:db8::1]:31002"],
            InternalFrom::default(),
        );
        for from in ["10.0.0.1:31002", "10.0.0.1:40000", "[2001:db8::1]:1"] {
            assert!(contain(&sources, from), "{from}");
        }
        for from in [
            "10.0.0.2:31002",
            "[2001:db8::2]:31002",
            "[::ffff:10.0.0.1]:31002",
        ] {
            assert!(!contain(&sources, from), "{from}");
        }
    }

    #[test]
    fn a_link_local_router_is_bound_to_its_interface() {
        let sources = sources(&["[fe80::1%3]:31002"], InternalFrom::default());
        assert!(contain(&sources, "[fe80::1%3]:9"));
        assert!(!contain(&sources, "[fe80::1%4]:31002"));
        assert!(!contain(&sources, "[fe80::1]:31002"));
    }

    #[test]
    fn prefixes_are_accepted_besides_routers() {
        let prefixes = vec!["10.1.0.0/16".parse().unwrap(), "fe80::/10".parse().unwrap()];
        let sources = sources(&["10.0.0.1:31002"], InternalFrom::Prefixes(prefixes));
        for from in ["10.0.0.1:1", "10.1.2.3:1", "[fe80::7%2]:1"] {
            assert!(contain(&sources, from), "{from}");
        }
        assert!(!contain(&sources, "10.2.0.1:1"));
        assert!(!contain(&sources, "[::ffff:10.1.2.3]:1"));
    }

    #[test]
    fn any_accepts_every_source() {
        let sources = sources(&[], InternalFrom::Any);
        assert!(contain(&sources, "192.0.2.1:1"));
        assert!(contain(&sources, "[2001:db8::1]:1"));
    }
}

//! Where a SCION packet that came out of a tunnel goes.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use scion_packet::{Host, IncomingPolicy, IsdAs, ScionPacket, delivery_port, egress_interface};

use crate::config::ScionForward;
use crate::drop_reason::{DropReason, RouteError};

/// What `--forward` says: what happens to a packet that came out of a tunnel.
pub(crate) enum Upstream {
    /// Forward it by its SCION header.
    Scion(ScionUpstream),
    /// Send it back into its own tunnel.
    Echo,
    /// Count it.
    Sink,
}

/// The SCION side of the gateway: which packets may enter it, and where they go.
pub(crate) struct ScionUpstream {
    /// What a packet from a tunnel must be like.
    pub(crate) policy: IncomingPolicy,
    /// Source of the SCMP errors that the gateway sends into tunnels.
    pub(crate) internal: SocketAddr,
    local_isd_as: Vec<IsdAs>,
    next_hops: HashMap<(IsdAs, u16), SocketAddr, ahash::RandomState>,
    local_prefixes: Vec<IpNet>,
}

/// A destination of a packet from a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// The internal address of the router that owns the first hop's interface.
    Router(SocketAddr),
    /// A host in our own AS, by the address at which it would have its tunnel.
    Local(SocketAddr),
}

impl ScionUpstream {
    /// `internal` is the address that the upstream sockets are bound to.
    pub(crate) fn new(config: &ScionForward, internal: SocketAddr) -> Self {
        Self {
            policy: IncomingPolicy {
                local_isd_as: config.local_isd_as.clone(),
            },
            internal,
            local_isd_as: config.local_isd_as.clone(),
            next_hops: config
                .next_hops
                .iter()
                .map(|(&hop, &router)| (hop, router))
                .collect(),
            local_prefixes: config.local_prefixes.clone(),
        }
    }

    /// Where `packet` goes: by its destination when that is in our AS, by its path when it is not.
    pub(crate) fn route(&self, packet: &ScionPacket<'_>) -> Result<Route, DropReason> {
        if self.local_isd_as.contains(&packet.dst_isd_as()) {
            return Ok(Route::Local(tunnel_address(packet)?));
        }
        let interface = egress_interface(packet)?;
        self.next_hops
            .get(&(packet.src_isd_as(), interface))
            .copied()
            .map(Route::Router)
            .ok_or(DropReason::Route(RouteError::NoNextHop))
    }

    /// Whether bare SCION packets may be sent to `host`: only inside the configured prefixes, so
    /// that the gateway is no open UDP reflector.
    pub(crate) fn serves_endhost(&self, host: SocketAddr) -> bool {
        self.local_prefixes
            .iter()
            .any(|prefix| prefix.contains(&host.ip()))
    }
}

/// The remote address of the tunnel that `packet` is for.
pub(crate) fn tunnel_address(packet: &ScionPacket<'_>) -> Result<SocketAddr, DropReason> {
    let Host::Ip(host) = packet.dst_host() else {
        return Err(DropReason::Route(RouteError::NoHostAddress));
    };
    Ok(SocketAddr::new(host, delivery_port(packet)?))
}

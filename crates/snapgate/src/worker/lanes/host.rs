//! Hosts as destinations of lanes.

use std::net::{IpAddr, SocketAddr};

/// IP address of a host and, if that is link-local, the interface index.
pub(crate) type Host = (IpAddr, u32);

/// Returns the host of a socket address.
pub(crate) fn host(address: SocketAddr) -> Host {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => (address.ip(), v6.scope_id()),
        _ => (address.ip(), 0),
    }
}

//! Initial sockets of a thread.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use udp_shards::{ShardSocket, SocketOptions, bind_client_socket};

use super::lane::Lane;
use super::ports::{Ports, Role};
use crate::config::{Direction, address_of_thread};
use crate::error::LoadError;
use crate::plan::{Plan, local_ip};
use crate::tunnel::{Peer, Tunnel};

/// Creates a tunnel with its own socket, or with the socket of the previous tunnel if they can share it.
pub(super) fn lane(
    plan: &Plan<'_>,
    peer: &Peer,
    tunnel: usize,
    lanes: &[Lane],
    ports: &mut Ports,
) -> Result<Lane, LoadError> {
    let secret = plan.config.identities.secrets()[tunnel].clone();
    let lane = lanes.len();
    let (port, from_ip) = if plan.config.shares_sockets() {
        let ip = plan.source_ip(tunnel);
        let port = match lanes.last() {
            Some(last) if plan.round_of(last.index as usize) == plan.round_of(tunnel) => {
                last.first_port
            }
            _ => ports.add(
                shared_socket(plan, tunnel)?,
                Role::Shared(HashMap::default()),
            )?,
        };
        join(ports, port, ip, lane);
        (port, Some(ip))
    } else {
        let socket = tunnel_socket(plan, peer, tunnel)?;
        (ports.add(socket, Role::Tunnel(lane))?, None)
    };
    let index = tunnel as u32;
    Ok(Lane::new(index, Tunnel::new(secret, peer), port, from_ip))
}

/// Adds a tunnel to a shared socket.
pub(super) fn join(ports: &mut Ports, port: usize, ip: IpAddr, lane: usize) {
    if let Role::Shared(lanes) = &mut ports.get_mut(port).role {
        lanes.insert(ip, lane);
    }
}

/// Returns a socket for one tunnel, on a free port.
pub(super) fn tunnel_socket(
    plan: &Plan<'_>,
    peer: &Peer,
    tunnel: usize,
) -> Result<ShardSocket, LoadError> {
    let socket = bind(plan, plan.source_ip(tunnel), tunnel)?;
    socket
        .connect(peer.gateway)
        .map_err(|source| LoadError::NoRoute {
            gateway: peer.gateway,
            source,
        })?;
    Ok(socket)
}

/// Returns a socket for this and other tunnels, on a free port.
pub(super) fn shared_socket(plan: &Plan<'_>, tunnel: usize) -> Result<ShardSocket, LoadError> {
    let any = match plan.config.gateway {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    bind(plan, any, tunnel)
}

fn bind(plan: &Plan<'_>, address: IpAddr, tunnel: usize) -> Result<ShardSocket, LoadError> {
    let failed = |source| LoadError::Bind {
        tunnel,
        address,
        source,
    };
    let socket = bind_client_socket(SocketAddr::new(address, 0), &SocketOptions::default())
        .map_err(failed)?;
    if plan.config.never_fragment && address.is_ipv4() {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE).map_err(|errno| {
            LoadError::NeverFragment {
                tunnel,
                source: errno.into(),
            }
        })?;
    }
    Ok(socket)
}

/// Binds the socket of the router that a thread plays, if any. Returns its port.
pub(super) fn router(
    plan: &Plan<'_>,
    thread: usize,
    ports: &mut Ports,
) -> Result<Option<usize>, LoadError> {
    let address = match plan.config.direction {
        Direction::Echo => return Ok(None),
        Direction::Up { router, .. } => router,
        Direction::Down {
            router: Some(router),
            ..
        } => router,
        Direction::Down { internal, .. } => SocketAddr::new(local_ip(internal)?, 0),
    };
    let options = SocketOptions {
        // Packets for different tunnels have the same destination here, the gateway. Without trains they must not be
        // merged.
        gso: plan.config.effective_train() > 1,
        ..SocketOptions::default()
    };
    let socket = bind_client_socket(address_of_thread(address, thread), &options)
        .map_err(LoadError::BindRouter)?;
    ports.add(socket, Role::Router).map(Some)
}

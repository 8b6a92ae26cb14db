//! Binding the sockets of all workers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;

use udp_shards::{
    BufferReport, DispatchKey, GarbageSocket, LaneBinder, ShardSocket, SocketOptions,
    bind_tunnel_group, bind_upstream_group,
};

use super::start_error::StartError;
use crate::config::{Config, Dispatch, ScionForward};
use crate::worker::{UnpolledLanes, UnpolledListener, routers};

/// The index of the lane of each router that has one.
pub(super) type RouterLanes = HashMap<SocketAddr, usize>;

/// The sockets of all workers, before the workers are started.
pub(super) struct BoundSockets {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) internal: Option<SocketAddr>,
    pub(super) workers: Vec<WorkerSockets>,
}

#[derive(Default)]
pub(super) struct WorkerSockets {
    pub(super) listeners: Vec<UnpolledListener>,
    /// The lane of each router, and all lanes.
    pub(super) upstream: Option<(RouterLanes, UnpolledLanes)>,
    pub(super) garbage: Vec<GarbageSocket>,
}

impl BoundSockets {
    pub(super) fn bind(
        config: &Config,
        workers: NonZeroUsize,
        key: &DispatchKey,
    ) -> Result<Self, StartError> {
        let options = SocketOptions {
            interface: config.listen_interface,
            ..config.sockets
        };
        let mut bound = Self {
            listen: Vec::new(),
            internal: None,
            workers: (0..workers.get())
                .map(|_| WorkerSockets::default())
                .collect(),
        };
        for &address in &config.listen {
            check_broadcast(address)?;
            let group = bind_tunnel_group(address, workers, key, config.dispatch, &options)?;
            warn_of_short_buffers(group.local_addr, &group.buffers);
            bound.listen.push(group.local_addr);
            let mut handshakes = group.handshake.into_iter();
            let mut mixed = group.mixed.into_iter();
            for (worker, data) in bound.workers.iter_mut().zip(group.data) {
                worker.listeners.push(UnpolledListener {
                    data,
                    handshake: handshakes.next(),
                    mixed: mixed.next(),
                });
            }
            bound.workers[0].garbage.extend(group.garbage);
        }
        if let Some(scion) = config.forward.scion() {
            check_broadcast(scion.internal)?;
            let options = SocketOptions {
                interface: scion.interface,
                ..config.sockets
            };
            let group =
                bind_upstream_group(scion.internal, workers, key, config.dispatch, &options)?;
            warn_of_short_buffers(group.local_addr, &group.buffers);
            bound.internal = Some(group.local_addr);
            for (worker, own) in bound.workers.iter_mut().zip(group.sockets) {
                let (routers, lanes) = bind_router_lanes(scion, &group.lanes);
                let lanes = UnpolledLanes {
                    own,
                    routers: lanes,
                    binder: group.lanes.clone(),
                    receive: config.dispatch == Dispatch::User,
                };
                worker.upstream = Some((routers, lanes));
            }
        }
        Ok(bound)
    }
}

/// Binds a lane of a worker for each router. Routers whose lane cannot be bound share the worker's own socket.
fn bind_router_lanes(scion: &ScionForward, binder: &LaneBinder) -> (RouterLanes, Vec<ShardSocket>) {
    let mut lanes = Vec::new();
    let mut by_router = RouterLanes::new();
    for router in routers(scion) {
        match binder.bind() {
            Ok(lane) => {
                lanes.push(lane);
                by_router.insert(router, lanes.len());
            }
            Err(error) => tracing::warn!(
                %router,
                %error,
                hint = "routers that share a socket delay each other when one does not answer; raise LimitNOFILE=",
                "no separate socket for a router"
            ),
        }
    }
    (by_router, lanes)
}

/// Refuses the broadcast address of a network, which can be bound, but is no source of datagrams.
fn check_broadcast(address: SocketAddr) -> Result<(), StartError> {
    match address.ip() {
        IpAddr::V4(ip) if is_broadcast(ip).unwrap_or(false) => Err(StartError::Broadcast(address)),
        _ => Ok(()),
    }
}

/// Returns true for the broadcast address of a network of this host: the kernel connects to it only with SO_BROADCAST.
fn is_broadcast(ip: Ipv4Addr) -> io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Connecting sends nothing.
    let connect = || socket.connect((ip, 1));
    let is_refused = connect().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if is_refused {
        socket.set_broadcast(true)?;
    }
    Ok(is_refused && connect().is_ok())
}

fn warn_of_short_buffers(address: SocketAddr, buffers: &BufferReport) {
    let sizes = [
        ("receive", "net.core.rmem_max", buffers.receive),
        ("send", "net.core.wmem_max", buffers.send),
    ];
    for (buffer, sysctl, size) in sizes {
        if size.is_short() {
            tracing::warn!(
                %address,
                %buffer,
                wanted_bytes = size.wanted_bytes,
                got_bytes = size.got_bytes,
                hint = %format_args!("bursts may be lost; raise {sysctl}, or give the process CAP_NET_ADMIN"),
                "socket buffer smaller than configured"
            );
        }
    }
}

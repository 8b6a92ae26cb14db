//! snap-dataplane 0.8.6 as a process for measurements: the peer.
//!
//! It authorizes every identity. A packet from a tunnel goes to the router's address by one plain send, or, without a
//! router, through the data plane's own queue to the tunnel of its destination. All work is done by one task on one
//! thread, without the locks of a multi-threaded scheduler and without logs. Its sockets have the buffers of snapgate.

use std::io::{self, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use benches::gateway_key;
use clap::Parser;
use core_affinity::CoreId;
use rustix::net::sockopt;
use scion_sdk_observability::metrics::registry::MetricsRegistry;
use scion_sdk_utils::task_handler::CancelTaskSet;
use sciparse::core::view::View as _;
use sciparse::packet::view::ScionPacketView;
use snap_dataplane::dispatcher::Dispatcher;
use snap_dataplane::tunnel_gateway::dispatcher::TunnelGatewayDispatcher;
use snap_dataplane::tunnel_gateway::metrics::{
    TunnelGatewayDispatcherMetrics, TunnelGatewayMetrics,
};
use snap_dataplane::tunnel_gateway::{NoopTunnelGatewayObserver, start_tunnel_gateway};
use snap_tun::server::SnapTunAuthorization;
use udp_shards::SocketOptions;

/// Run snap-dataplane 0.8.6 for measurements
#[derive(Parser)]
struct Arguments {
    /// Listen address for tunnels
    #[arg(long)]
    listen: SocketAddr,
    /// Destination of packets from tunnels; by default the tunnel of their SCION destination
    #[arg(long)]
    router: Option<SocketAddr>,
    /// CPU to run on
    #[arg(long)]
    cpu: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(io::stderr(), "peer_gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    if !core_affinity::set_for_current(CoreId { id: arguments.cpu }) {
        return Err(io::Error::other(format!(
            "cannot run on CPU {}",
            arguments.cpu
        )));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> io::Result<()> {
    let metrics = MetricsRegistry::new();
    let (into_tunnels, out_of_queue) =
        TunnelGatewayDispatcher::new(TunnelGatewayDispatcherMetrics::new(&metrics));
    let dispatcher = Arc::new(match arguments.router {
        Some(router) => Destination::Router(router_socket(router)?),
        None => Destination::Tunnels(into_tunnels),
    });
    let socket = tunnel_socket(arguments.listen)?;
    let mut tasks = CancelTaskSet::new_with_signal_handler();
    start_tunnel_gateway(
        &mut tasks,
        socket,
        Arc::new(AnyIdentity),
        dispatcher,
        Arc::new(NoopTunnelGatewayObserver),
        out_of_queue,
        gateway_key(),
        TunnelGatewayMetrics::new(&metrics),
    );
    writeln!(io::stdout(), "ready")?;
    while tasks.join_set.join_next().await.is_some() {}
    Ok(())
}

/// Opens the socket for tunnels, with the buffers of snapgate.
fn tunnel_socket(listen: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    enlarge_buffers(&socket)?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

fn router_socket(router: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(router.ip(), 0))?;
    enlarge_buffers(&socket)?;
    socket.set_nonblocking(true)?;
    socket.connect(router)?;
    Ok(socket)
}

fn enlarge_buffers(socket: &UdpSocket) -> io::Result<()> {
    let options = SocketOptions::default();
    sockopt::set_socket_recv_buffer_size_force(socket, options.receive_buffer_bytes)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, options.receive_buffer_bytes))?;
    sockopt::set_socket_send_buffer_size(socket, options.send_buffer_bytes)?;
    Ok(())
}

/// Destination of packets from tunnels.
enum Destination {
    Router(UdpSocket),
    Tunnels(TunnelGatewayDispatcher),
}

impl Dispatcher for Destination {
    fn try_dispatch(&self, packet: &ScionPacketView) {
        match self {
            Self::Router(socket) => {
                // A packet that the kernel rejects is counted as lost at the router.
                let _lost = socket.send(packet.as_slice());
            }
            Self::Tunnels(queue) => queue.try_dispatch(packet),
        }
    }
}

/// Authorization of every identity.
struct AnyIdentity;

impl SnapTunAuthorization for AnyIdentity {
    type SessionData = ();

    fn is_authorized(&self, _now: Instant, _identity: &[u8; 32]) -> Option<Arc<()>> {
        Some(Arc::new(()))
    }
}

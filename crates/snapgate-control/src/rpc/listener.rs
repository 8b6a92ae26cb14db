//! Accepts TCP connections, with TLS if there is a certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::activity::Activity;
use super::connections::{Connections, Origin};
use super::log_limit::LogLimit;
use super::metrics::{ConnectionEnd, ControlMetrics};
use super::server::{Handler, serve};
use super::settings::Limits;

/// Maximum number of connections that wait for accept(2); `net.core.somaxconn` bounds it as well.
const BACKLOG: i32 = 1024;

/// Pause after an error of accept(2), which is a lack of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds a TCP address. An IPv6 wildcard also accepts IPv4, unless `others` has an IPv4 address with the same port.
pub(super) fn bind(
    address: SocketAddr,
    others: &[SocketAddr],
) -> io::Result<std::net::TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        let is_shared = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        set_ipv6_v6only(&socket, others.iter().any(is_shared))?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// What all listeners of a server share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) connections: Connections,
    pub(super) metrics: ControlMetrics,
    pub(super) tls: Option<TlsAcceptor>,
}

/// Accepts connections until `stop` changes.
pub(super) async fn accept<H: Handler>(
    listener: TcpListener,
    shared: Arc<Shared>,
    handler_for: impl Fn(SocketAddr) -> H,
    mut stop: watch::Receiver<()>,
) {
    let mut warning = LogLimit::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if warning.is_due(Instant::now()) {
                    tracing::warn!(%error, "cannot accept control plane connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let activity = Arc::new(Activity::new(Instant::now()));
        let connection = serve_stream(
            stream,
            Arc::clone(&shared),
            handler_for(peer),
            Arc::clone(&activity),
            stop.clone(),
        );
        let task = tokio::spawn(connection).abort_handle();
        shared
            .connections
            .add(task, Origin::of(peer.ip()), activity);
        // The connections make progress before another one is accepted, so that in a burst no connection is closed
        // whose request has arrived.
        tokio::task::yield_now().await;
    }
}

async fn serve_stream(
    stream: TcpStream,
    shared: Arc<Shared>,
    handler: impl Handler,
    activity: Arc<Activity>,
    stop: watch::Receiver<()>,
) {
    let _open = shared.metrics.accepted();
    // Without it, an answer in two writes waits for the acknowledgement of the first one. It fails only if the
    // connection has ended.
    let _ended = stream.set_nodelay(true);
    let limits = shared.limits;
    let end = match &shared.tls {
        None => serve(stream, handler, activity, limits, stop).await,
        Some(tls) => match tokio::time::timeout(limits.header_time, tls.accept(stream)).await {
            Err(_) => Some(ConnectionEnd::HandshakeTime),
            Ok(Err(_)) => Some(ConnectionEnd::HandshakeFailed),
            Ok(Ok(stream)) => serve(stream, handler, activity, limits, stop).await,
        },
    };
    if let Some(end) = end {
        shared.metrics.ended(end);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn an_ipv6_wildcard_accepts_ipv4_unless_that_has_its_own_address() {
        let any: SocketAddr = "[::]:0".parse().unwrap();
        let Ok(both) = bind(any, &[]) else {
            eprintln!("skipped: this host has no IPv6");
            return;
        };
        let port = both.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        drop(both);

        let any = SocketAddr::new(any.ip(), port);
        let ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let _only_ipv6 = bind(any, &[any, ipv4]).unwrap();
        assert!(bind(ipv4, &[any, ipv4]).is_ok());
    }
}

//! The client that endhosts run.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use gotatun_client::packet::{Packet, PacketBufPool};
use reqwest_connect_rpc::client::CrpcClientError;
use reqwest_connect_rpc::token_source::static_token::StaticTokenSource;
use scion_packet::ScionAddress;
use snap_tun::client::{
    ConnectSnapTunSocketError, SnapTunControlPlaneClient, SnapTunEndpoint, SnapTunnel,
};
use snapgate::keys::PrivateKey;
use testkit::packets;
use tokio::net::UdpSocket;
use x25519_dalek::PublicKey;

use crate::{TestGateway, free_socket, in_time, private_key};

/// As the SCION stack on top of the client has it.
const RECEIVE_QUEUE_PACKETS: usize = 1024;
/// Buffers that are made beforehand; a pool grows by itself.
const POOLED_BUFFERS: usize = 64;

/// A client with a tunnel: `snap-tun`, the one that endhosts run.
pub struct SnapTunClient {
    tunnel: SnapTunnel,
    /// Registers the identity for as long as it lives.
    _endpoint: SnapTunEndpoint,
    socket_address: SocketAddr,
}

impl SnapTunClient {
    /// A client with a new identity, on a free port, to the first listen address of `gateway`.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    pub async fn connect(gateway: &TestGateway) -> Self {
        Self::connect_to(gateway, gateway.listen_address()).await
    }

    /// A client with a new identity, on a free port of loopback, to `listen`, where `gateway` can
    /// be reached.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    pub async fn connect_to(gateway: &TestGateway, listen: SocketAddr) -> Self {
        let socket = free_socket(listen).await;
        Self::connect_as(gateway, listen, &private_key(), socket).await
    }

    /// Connects with this identity from this socket.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    pub async fn connect_as(
        gateway: &TestGateway,
        listen: SocketAddr,
        identity: &PrivateKey,
        socket: Arc<UdpSocket>,
    ) -> Self {
        Self::connect_by_key(gateway.public_key(), listen, identity, socket).await
    }

    /// Connects with this identity from this socket to the gateway with this key.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    pub async fn connect_by_key(
        gateway: &PublicKey,
        listen: SocketAddr,
        identity: &PrivateKey,
        socket: Arc<UdpSocket>,
    ) -> Self {
        let attempt = Self::try_connect(gateway, listen, identity, socket);
        in_time("the gateway's answer", attempt)
            .await
            .expect("the client connects")
    }

    /// Connects with this identity from this socket to the gateway with this key. The client tries for 90 s
    /// before it gives up.
    ///
    /// # Errors
    ///
    /// Those of `snap-tun`.
    pub async fn try_connect(
        gateway: &PublicKey,
        listen: SocketAddr,
        identity: &PrivateKey,
        socket: Arc<UdpSocket>,
    ) -> Result<Self, ConnectSnapTunSocketError> {
        let socket_address = socket.local_addr().expect("a bound socket");
        let token = Arc::new(StaticTokenSource::from("token"));
        let endpoint = SnapTunEndpoint::new(token, identity.to_secret());
        let tunnel = endpoint
            .connect_tunnel(
                *gateway,
                listen,
                url::Url::parse("http://control-plane.invalid").expect("a URL"),
                Arc::new(WillingControlPlane),
                socket,
                RECEIVE_QUEUE_PACKETS,
                PacketBufPool::new(POOLED_BUFFERS),
            )
            .await?;
        Ok(Self {
            tunnel,
            _endpoint: endpoint,
            socket_address,
        })
    }

    /// The address that the gateway says the client has.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tunnel.local_addr()
    }

    /// The address of the client's socket.
    #[must_use]
    pub const fn socket_address(&self) -> SocketAddr {
        self.socket_address
    }

    /// The client's SCION address, in the AS of the gateway.
    #[must_use]
    pub fn scion_address(&self) -> ScionAddress {
        packets::local(self.address().ip())
    }

    /// Sends a SCION packet into the tunnel.
    ///
    /// # Panics
    ///
    /// When the tunnel is closed.
    pub async fn send(&self, packet: &[u8]) {
        self.tunnel
            .send(Packet::from_bytes(BytesMut::from(packet)))
            .await
            .expect("the tunnel is open");
    }

    /// Waits for the next SCION packet out of the tunnel.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn receive(&self) -> Bytes {
        in_time("a packet at the client", self.tunnel.recv())
            .await
            .expect("the tunnel is open")
    }

    /// Whether no packet out of the tunnel waits to be received.
    ///
    /// # Panics
    ///
    /// When the tunnel is closed.
    #[must_use]
    pub fn has_received_everything(&self) -> bool {
        self.tunnel
            .try_recv()
            .expect("the tunnel is open")
            .is_none()
    }

    /// Closes the client and hands its port, with a new socket, to whoever comes next.
    ///
    /// # Panics
    ///
    /// When the port does not come free: someone else holds the client's socket.
    pub async fn stop(self) -> Arc<UdpSocket> {
        let address = self.socket_address;
        drop(self);
        // The client's task, which ends in its own time, holds the socket.
        let rebind = async {
            loop {
                match UdpSocket::bind(address).await {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        tokio::task::yield_now().await;
                    }
                    bound => return bound,
                }
            }
        };
        let socket = in_time("the client's end", rebind).await;
        Arc::new(socket.expect("the port can be had again"))
    }
}

/// A control plane that registers everyone: what identities there are is the gateway's own
/// knowledge.
struct WillingControlPlane;

#[async_trait]
impl SnapTunControlPlaneClient for WillingControlPlane {
    async fn register_identity(
        &self,
        _identity: PublicKey,
        _psk_share: Option<[u8; 32]>,
    ) -> Result<Option<[u8; 32]>, CrpcClientError> {
        Ok(None)
    }
}

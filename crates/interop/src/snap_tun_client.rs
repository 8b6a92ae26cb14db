//! Client of endhosts.

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

/// Receive queue of the client, as set by the SCION stack above it.
const RECEIVE_QUEUE_PACKETS: usize = 1024;
/// Initial number of buffers; the pool grows on demand.
const POOLED_BUFFERS: usize = 64;

/// A tunnel of `snap-tun`, the client of endhosts.
pub struct SnapTunClient {
    tunnel: SnapTunnel,
    /// Keeps the identity registered.
    _endpoint: SnapTunEndpoint,
    socket_address: SocketAddr,
}

impl SnapTunClient {
    /// Connects with a new identity, from a free port, to the first listen address of `gateway`.
    pub async fn connect(gateway: &TestGateway) -> Self {
        Self::connect_to(gateway, gateway.listen_address()).await
    }

    /// Connects with a new identity, from a free port of loopback, to the address `listen` of `gateway`.
    pub async fn connect_to(gateway: &TestGateway, listen: SocketAddr) -> Self {
        let socket = free_socket(listen).await;
        Self::connect_as(gateway, listen, &private_key(), socket).await
    }

    /// Connects with `identity` from `socket` to the address `listen` of `gateway`.
    pub async fn connect_as(
        gateway: &TestGateway,
        listen: SocketAddr,
        identity: &PrivateKey,
        socket: Arc<UdpSocket>,
    ) -> Self {
        Self::connect_by_key(gateway.public_key(), listen, identity, socket).await
    }

    /// Connects with `identity` from `socket` to the gateway with the public key `gateway`.
    pub async fn connect_by_key(
        gateway: &PublicKey,
        listen: SocketAddr,
        identity: &PrivateKey,
        socket: Arc<UdpSocket>,
    ) -> Self {
        let attempt = Self::try_connect(gateway, listen, identity, socket);
        in_time("handshake of the client", attempt)
            .await
            .expect("the client connects")
    }

    /// Like [`Self::connect_by_key`], but returns the error of `snap-tun`, which gives up after 90 s.
    ///
    /// # Errors
    ///
    /// See [`ConnectSnapTunSocketError`].
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
                Arc::new(AcceptingControlPlane),
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

    /// Returns the client's address as the gateway reported it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tunnel.local_addr()
    }

    /// Returns the local address of the client's socket.
    #[must_use]
    pub const fn socket_address(&self) -> SocketAddr {
        self.socket_address
    }

    /// Returns the client's SCION address, in the AS of the gateway.
    #[must_use]
    pub fn scion_address(&self) -> ScionAddress {
        packets::local(self.address().ip())
    }

    /// Sends a SCION packet through the tunnel.
    pub async fn send(&self, packet: &[u8]) {
        self.tunnel
            .send(Packet::from_bytes(BytesMut::from(packet)))
            .await
            .expect("the tunnel is open");
    }

    /// Waits for the next SCION packet from the tunnel.
    pub async fn receive(&self) -> Bytes {
        in_time("a packet at the client", self.tunnel.recv())
            .await
            .expect("the tunnel is open")
    }

    /// Returns true if no packet from the tunnel waits to be received. Otherwise discards the first one.
    #[must_use]
    pub fn has_received_everything(&self) -> bool {
        self.tunnel
            .try_recv()
            .expect("the tunnel is open")
            .is_none()
    }

    /// Closes the client, and returns a new socket on its port.
    pub async fn stop(self) -> Arc<UdpSocket> {
        let address = self.socket_address;
        drop(self);
        // The socket stays open until the client's task ends.
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
        let socket = in_time("free port of the closed client", rebind).await;
        Arc::new(socket.expect("the port can be bound again"))
    }
}

/// A control plane that accepts every registration: the tests configure identities at the gateway.
struct AcceptingControlPlane;

#[async_trait]
impl SnapTunControlPlaneClient for AcceptingControlPlane {
    async fn register_identity(
        &self,
        _identity: PublicKey,
        _psk_share: Option<[u8; 32]>,
    ) -> Result<Option<[u8; 32]>, CrpcClientError> {
        Ok(None)
    }
}

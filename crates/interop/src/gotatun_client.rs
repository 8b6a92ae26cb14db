//! A client right on top of the newest `ana-gotatun`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use ana_gotatun::packet::{Packet, WgKind};
use ana_gotatun::tun::MtuWatcher;
use ana_gotatun::x25519::PublicKey;
use bytes::BytesMut;
use snapgate::keys::PrivateKey;
use tokio::net::UdpSocket;

use crate::{MAX_DATAGRAM_BYTES, TestGateway, free_socket, in_time, private_key};

/// More handshakes a second than any test makes.
const HANDSHAKES_PER_SECOND: u64 = 1000;
/// Room for padding.
const MTU_BYTES: u16 = 9000;

/// A client of the newest `ana-gotatun`, which pads every packet to a multiple of 16 bytes. It has
/// no timers and no task: every datagram is sent and received by the test.
pub struct GotatunClient {
    socket: Arc<UdpSocket>,
    gateway: SocketAddr,
    tunn: Tunn,
    mtu: MtuWatcher,
}

impl GotatunClient {
    /// A client that has sent nothing yet. Others may send from the same socket.
    ///
    /// # Panics
    ///
    /// When there are no random numbers.
    #[must_use]
    pub fn new(gateway: &TestGateway, identity: &PrivateKey, socket: Arc<UdpSocket>) -> Self {
        let gateway_key = PublicKey::from(*gateway.public_key().as_bytes());
        let own_key = PublicKey::from(*identity.public_key().as_bytes());
        let listen = gateway.listen_address();
        let tunn = Tunn::new(
            identity.to_secret(),
            gateway_key,
            None,
            None,
            IndexTable::from_os_rng(),
            Arc::new(RateLimiter::new(&own_key, HANDSHAKES_PER_SECOND)),
            listen,
        );
        Self {
            socket,
            gateway: listen,
            tunn,
            mtu: MtuWatcher::new(MTU_BYTES),
        }
    }

    /// A client with a new identity, on a free port, that has a tunnel.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    pub async fn connect(gateway: &TestGateway) -> Self {
        let socket = free_socket(gateway.listen_address()).await;
        let mut client = Self::new(gateway, &private_key(), socket);
        client.initiate().await;
        let address = client.expect_answer().await;
        assert_eq!(address, client.address());
        client
    }

    /// The address of the client's socket.
    ///
    /// # Panics
    ///
    /// When the kernel does not tell.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Sends a handshake initiation.
    ///
    /// # Panics
    ///
    /// When a handshake is under way already.
    pub async fn initiate(&mut self) {
        let initiation = self
            .tunn
            .format_handshake_initiation(false)
            .expect("no handshake under way");
        self.send_to_gateway(initiation.into()).await;
    }

    /// Takes the next datagram for the gateway's answer to the handshake, completes the handshake
    /// and returns the address that the gateway says the client has.
    ///
    /// # Panics
    ///
    /// When the next datagram is anything else, or none comes.
    pub async fn expect_answer(&mut self) -> SocketAddr {
        let datagram = self.receive_datagram().await;
        let TunnResult::WriteToNetwork(keepalive) = self.tunn.handle_incoming_packet(datagram)
        else {
            panic!("the first datagram is not the answer to the handshake");
        };
        self.send_to_gateway(keepalive).await;
        self.tunn
            .get_initiator_remote_sockaddr()
            .expect("the answer holds the client's address")
    }

    /// Sends a packet into the tunnel, padded, and returns how long it has become.
    ///
    /// # Panics
    ///
    /// Without a tunnel.
    pub async fn send(&mut self, packet: &[u8]) -> usize {
        let packet = Packet::from_bytes(BytesMut::from(packet));
        let Some(WgKind::Data(data)) = self
            .tunn
            .handle_outgoing_packet(packet, Some(&mut self.mtu))
        else {
            panic!("a client without a tunnel");
        };
        let padded = data.encrypted_encapsulated_packet().len();
        self.send_to_gateway(data.into()).await;
        padded
    }

    /// Waits for the next packet out of the tunnel.
    ///
    /// # Panics
    ///
    /// When the next datagram is anything else, or none comes.
    pub async fn receive(&mut self) -> Vec<u8> {
        let datagram = self.receive_datagram().await;
        match self.tunn.handle_incoming_packet(datagram) {
            TunnResult::WriteToTunnel(packet) => packet.to_vec(),
            other => panic!("{other:?} instead of a packet"),
        }
    }

    async fn receive_datagram(&self) -> WgKind {
        let mut datagram = BytesMut::zeroed(MAX_DATAGRAM_BYTES);
        let receive = self.socket.recv_from(&mut datagram);
        let (length, from) = in_time("a datagram at the client", receive)
            .await
            .expect("a client can receive");
        assert_eq!(from, self.gateway);
        datagram.truncate(length);
        Packet::from_bytes(datagram)
            .try_into_wg()
            .expect("the gateway sends SNAPtun messages")
    }

    async fn send_to_gateway(&self, message: WgKind) {
        let datagram = Packet::from(message);
        self.socket
            .send_to(&datagram, self.gateway)
            .await
            .expect("a client can send");
    }
}

impl fmt::Debug for GotatunClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GotatunClient")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

//! Stand-in for a SCION router.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::{MAX_DATAGRAM_BYTES, Scenario, TestGateway, in_time};

/// A UDP socket at the internal address of a router, which sends and receives bare SCION packets.
#[derive(Debug)]
pub struct Router {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Router {
    /// Opens a router on a free port.
    pub async fn start(scenario: Scenario) -> Self {
        let socket = UdpSocket::bind(scenario.any_port())
            .await
            .expect("a free port for a router");
        let address = socket.local_addr().expect("a bound socket");
        Self { socket, address }
    }

    /// Returns the internal address of the router.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next packet, which must come from the internal address of `gateway`.
    pub async fn receive_from(&self, gateway: &TestGateway) -> Vec<u8> {
        let mut packet = vec![0; MAX_DATAGRAM_BYTES];
        let (length, from) = in_time("a packet at the router", self.socket.recv_from(&mut packet))
            .await
            .expect("a router can receive");
        assert_eq!(from, gateway.internal_address());
        packet.truncate(length);
        packet
    }

    /// Sends a packet to the internal address of `gateway`.
    pub async fn send_to(&self, gateway: &TestGateway, packet: &[u8]) {
        self.socket
            .send_to(packet, gateway.internal_address())
            .await
            .expect("a router can send");
    }
}

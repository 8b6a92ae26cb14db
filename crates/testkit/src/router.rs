//! A socket in the place of a SCION router.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::PATIENCE;

/// A router, by its internal address: bare SCION packets over UDP.
#[derive(Debug)]
pub struct Router {
    socket: UdpSocket,
}

impl Router {
    /// A router at a free port of 127.0.0.1.
    #[must_use]
    pub fn bind() -> Self {
        Self::bind_to((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// A router at `address`; port 0 picks one.
    ///
    /// # Panics
    ///
    /// When it cannot have that address.
    #[must_use]
    pub fn bind_to(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address)
            .unwrap_or_else(|error| panic!("a router at {address}: {error}"));
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        Self { socket }
    }

    /// Its internal address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Sends a packet, to the internal address of a gateway.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    pub fn send_to(&self, packet: &[u8], gateway: SocketAddr) {
        let sent = self
            .socket
            .send_to(packet, gateway)
            .expect("a router can send");
        assert_eq!(sent, packet.len());
    }

    /// The next packet that a gateway sent.
    ///
    /// # Panics
    ///
    /// When none comes.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        let mut packet = vec![0; 1 << 16];
        let received = self.socket.recv(&mut packet);
        packet.truncate(received.expect("a packet should have come"));
        packet
    }

    /// How many packets have come that were not received yet. They are lost.
    ///
    /// # Panics
    ///
    /// When the kernel refuses the options of the socket.
    pub fn discard_received(&self) -> usize {
        let set_nonblocking = |on| self.socket.set_nonblocking(on).expect("a socket option");
        set_nonblocking(true);
        let received = std::iter::from_fn(|| self.socket.recv(&mut [0]).ok()).count();
        set_nonblocking(false);
        received
    }
}

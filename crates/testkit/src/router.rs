//! Stand-in for a SCION router.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::PATIENCE;

/// A UDP socket at the internal address of a router, which sends and receives bare SCION packets.
#[derive(Debug)]
pub struct Router {
    socket: UdpSocket,
}

impl Router {
    /// Opens a router at a free port of 127.0.0.1.
    #[must_use]
    pub fn bind() -> Self {
        Self::bind_to((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Opens a router at `address`; port 0 picks a free port.
    #[must_use]
    pub fn bind_to(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address)
            .unwrap_or_else(|error| panic!("cannot open a router at {address}: {error}"));
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        Self { socket }
    }

    /// Returns the internal address of the router.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Sends a packet to the internal address of a gateway.
    pub fn send_to(&self, packet: &[u8], gateway: SocketAddr) {
        let sent = self
            .socket
            .send_to(packet, gateway)
            .expect("a router can send");
        assert_eq!(sent, packet.len());
    }

    /// Returns the next packet from a gateway.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        self.try_receive().expect("no packet at the router")
    }

    /// Returns the next packet from a gateway, or `None` after `limit`.
    #[must_use]
    pub fn receive_within(&self, limit: Duration) -> Option<Vec<u8>> {
        let set_timeout = |limit| {
            let set = self.socket.set_read_timeout(Some(limit));
            set.expect("a socket option");
        };
        set_timeout(limit);
        let packet = self.try_receive();
        set_timeout(PATIENCE);
        packet.ok()
    }

    /// Receives a packet. A call with a timeout is not continued after an interruption, as by SIGSTOP and SIGCONT.
    fn try_receive(&self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; 1 << 16];
        loop {
            match self.socket.recv(&mut packet) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => {
                    packet.truncate(received?);
                    return Ok(packet);
                }
            }
        }
    }

    /// Discards the packets that have arrived and were not received yet, and returns their number.
    pub fn discard_received(&self) -> usize {
        let set_nonblocking = |on| self.socket.set_nonblocking(on).expect("a socket option");
        set_nonblocking(true);
        let received = std::iter::from_fn(|| self.socket.recv(&mut [0]).ok()).count();
        set_nonblocking(false);
        received
    }
}

//! A tunnel on a UDP socket.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udp_shards::ShardSocket;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::train;
use crate::tunnel::{Tunnel, TunnelEvent};
use crate::{PATIENCE, client_socket, send_train};

/// A [`Tunnel`] on a [`client_socket`]. Create it inside a namespace ([`crate::Namespace::run`])
/// to let it live there.
pub struct Client {
    socket: ShardSocket,
    gateway: SocketAddr,
    gateway_key: PublicKey,
    tunnel: Tunnel,
    /// Datagrams of received trains that nobody took yet.
    received: VecDeque<Vec<u8>>,
}

impl Client {
    /// A client that has sent nothing. `bind` is its address; port 0 picks one.
    ///
    /// # Panics
    ///
    /// When it cannot have that address.
    #[must_use]
    pub fn new(
        identity: &StaticSecret,
        bind: SocketAddr,
        gateway: SocketAddr,
        key: &PublicKey,
    ) -> Self {
        Self {
            socket: client_socket(bind),
            gateway,
            gateway_key: *key,
            tunnel: Tunnel::new(identity.clone(), gateway, key),
            received: VecDeque::new(),
        }
    }

    /// A client that has a tunnel.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    #[must_use]
    pub fn connect(
        identity: &StaticSecret,
        bind: SocketAddr,
        gateway: SocketAddr,
        key: &PublicKey,
    ) -> Self {
        let mut client = Self::new(identity, bind, gateway, key);
        client.handshake();
        client
    }

    /// Makes a handshake, the first or another: sends an initiation, once more with each cookie
    /// that is demanded, and takes what comes until it is answered. Packets that come meanwhile
    /// are lost.
    ///
    /// # Panics
    ///
    /// When no answer comes.
    pub fn handshake(&mut self) {
        let before = self.tunnel.is_connected().then(|| self.tunnel.session());
        self.initiate();
        while !self.tunnel.is_connected() || Some(self.tunnel.session()) == before {
            let datagram = self.receive_datagram().expect("an answer to the handshake");
            self.handle(&datagram);
        }
    }

    /// Begins a handshake, and waits for no answer.
    pub fn initiate(&mut self) {
        let initiation = self.tunnel.initiate();
        self.send_datagram(&initiation);
    }

    /// Forgets the tunnel. The next handshake, from the same socket, is with another identity.
    pub fn change_identity(&mut self, identity: &StaticSecret) {
        self.tunnel = Tunnel::new(identity.clone(), self.gateway, &self.gateway_key);
    }

    /// Sends `packet` through the tunnel.
    pub fn send(&mut self, packet: &[u8]) {
        let datagram = self.tunnel.encrypt(packet);
        self.send_datagram(&datagram);
    }

    /// The next packet that comes out of the tunnel. Handshakes and cookies are answered.
    ///
    /// # Panics
    ///
    /// When none comes, or the gateway sent something that the tunnel refuses.
    pub fn receive(&mut self) -> Vec<u8> {
        self.receive_within(PATIENCE)
            .expect("a packet should have come")
    }

    /// Like [`Self::receive`]; `None` when none comes in time.
    pub fn receive_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        loop {
            let datagram = self.receive_datagram_until(Some(deadline))?;
            if let Some(packet) = self.handle(&datagram) {
                return Some(packet);
            }
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// When the kernel refuses them.
    pub fn send_datagram(&self, datagram: &[u8]) {
        self.send_datagram_to(self.gateway, datagram);
    }

    /// Sends bytes as they are to another address than the gateway's.
    ///
    /// # Panics
    ///
    /// When the kernel refuses them.
    pub fn send_datagram_to(&self, to: SocketAddr, datagram: &[u8]) {
        let socket = socket2::SockRef::from(&self.socket);
        loop {
            match socket.send_to(datagram, &to.into()) {
                Ok(sent) => return assert_eq!(sent, datagram.len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("send to {to}: {error}"),
            }
        }
    }

    /// Sends bytes as they are, as one GSO train: see [`send_train`].
    pub fn send_train(&self, datagrams: &[impl AsRef<[u8]>]) {
        send_train(&self.socket, self.gateway, datagrams);
    }

    /// The next datagram from the gateway, as it is; `None` when none comes within [`PATIENCE`].
    ///
    /// # Panics
    ///
    /// When it comes from elsewhere.
    pub fn receive_datagram(&mut self) -> Option<Vec<u8>> {
        self.receive_datagram_until(Some(Instant::now() + PATIENCE))
    }

    /// The next datagram from the gateway, as it is, if one has come already.
    ///
    /// # Panics
    ///
    /// When it comes from elsewhere.
    pub fn try_receive_datagram(&mut self) -> Option<Vec<u8>> {
        self.receive_datagram_until(None)
    }

    /// How many datagrams have come that were not received yet. They are lost.
    pub fn discard_received(&mut self) -> usize {
        std::iter::from_fn(|| self.try_receive_datagram()).count()
    }

    /// Lets the tunnel take a datagram, sends its answer, and returns the packet that was in it.
    ///
    /// # Panics
    ///
    /// When the tunnel refuses the datagram.
    pub fn handle(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match self.tunnel.handle(datagram) {
            TunnelEvent::Packet(packet) => Some(packet),
            TunnelEvent::Keepalive => None,
            TunnelEvent::Connected(answer) | TunnelEvent::Response(answer) => {
                self.send_datagram(&answer);
                None
            }
            TunnelEvent::Cookie => {
                self.initiate();
                None
            }
            TunnelEvent::Refused(error) => panic!("the gateway sent a bad message: {error:?}"),
            TunnelEvent::NotWireGuard => panic!("the gateway sent {datagram:02x?}"),
        }
    }

    /// The tunnel, to encrypt and decrypt by hand.
    pub fn tunnel(&mut self) -> &mut Tunnel {
        &mut self.tunnel
    }

    /// The client's address as the gateway sees it: its SCION host and port.
    ///
    /// # Panics
    ///
    /// Without a tunnel.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tunnel
            .observed_address()
            .expect("an answered handshake")
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &ShardSocket {
        &self.socket
    }

    /// The socket's own address.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    fn receive_datagram_until(&mut self, deadline: Option<Instant>) -> Option<Vec<u8>> {
        if self.received.is_empty() {
            let train = train::receive(&self.socket, deadline)?;
            assert_eq!(train.from, self.gateway, "a datagram from elsewhere");
            self.received
                .extend(train.into_datagrams().map(|one| one.to_vec()));
        }
        self.received.pop_front()
    }
}

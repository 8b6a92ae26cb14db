//! SNAPtun client on a UDP socket.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udp_shards::ShardSocket;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::train;
use crate::tunnel::{Tunnel, TunnelEvent};
use crate::{PATIENCE, client_socket, send_train};

/// A [`Tunnel`] on a [`client_socket`], in the network namespace in which it is created ([`crate::Namespace::run`]).
pub struct Client {
    socket: ShardSocket,
    gateway: SocketAddr,
    gateway_key: PublicKey,
    tunnel: Tunnel,
    /// Whether the gateway may send from another address than `gateway`.
    gateway_may_move: bool,
    /// Datagrams of received trains that were not returned yet.
    received: VecDeque<Vec<u8>>,
}

impl Client {
    /// Creates a client at the address `bind`, without a tunnel; port 0 picks a free port.
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
            gateway_may_move: false,
            received: VecDeque::new(),
        }
    }

    /// Creates a client and completes its first handshake.
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

    /// Accepts datagrams from any address from now on. Before, they must come from the gateway's.
    pub fn let_gateway_move(&mut self) {
        self.gateway_may_move = true;
    }

    /// Completes a handshake, the first or a rekey: sends an initiation, again after each cookie reply, and handles
    /// datagrams until the response arrives. Packets that arrive meanwhile are discarded.
    pub fn handshake(&mut self) {
        let before = self.tunnel.is_connected().then(|| self.tunnel.session());
        self.initiate();
        while !self.tunnel.is_connected() || Some(self.tunnel.session()) == before {
            let datagram = self.receive_datagram().expect("an answer to the handshake");
            self.handle(&datagram);
        }
    }

    /// Sends a handshake initiation without waiting for the response.
    pub fn initiate(&mut self) {
        let initiation = self.tunnel.initiate();
        self.send_datagram(&initiation);
    }

    /// Forgets the tunnel. The next handshake, from the same socket, uses `identity`.
    pub fn change_identity(&mut self, identity: &StaticSecret) {
        self.tunnel = Tunnel::new(identity.clone(), self.gateway, &self.gateway_key);
    }

    /// Sends `packet` through the tunnel.
    pub fn send(&mut self, packet: &[u8]) {
        let datagram = self.tunnel.encrypt(packet);
        self.send_datagram(&datagram);
    }

    /// Returns the next packet from the tunnel. Handshakes and cookies are answered meanwhile.
    pub fn receive(&mut self) -> Vec<u8> {
        self.receive_within(PATIENCE)
            .expect("no packet from the tunnel")
    }

    /// Like [`Self::receive`], but returns `None` after `limit`.
    pub fn receive_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        loop {
            let datagram = self.receive_datagram_until(Some(deadline))?;
            if let Some(packet) = self.handle(&datagram) {
                return Some(packet);
            }
        }
    }

    /// Sends a datagram to the gateway without encryption.
    pub fn send_datagram(&self, datagram: &[u8]) {
        self.send_datagram_to(self.gateway, datagram);
    }

    /// Sends a datagram to another address than the gateway's, without encryption.
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

    /// Sends datagrams to the gateway as one GSO train, without encryption (see [`send_train`]).
    pub fn send_train(&self, datagrams: &[impl AsRef<[u8]>]) {
        send_train(&self.socket, self.gateway, datagrams);
    }

    /// Returns the next datagram from the gateway, not decrypted; `None` after [`PATIENCE`].
    pub fn receive_datagram(&mut self) -> Option<Vec<u8>> {
        self.receive_datagram_until(Some(Instant::now() + PATIENCE))
    }

    /// Returns the next datagram from the gateway, not decrypted, if one has already arrived.
    pub fn try_receive_datagram(&mut self) -> Option<Vec<u8>> {
        self.receive_datagram_until(None)
    }

    /// Discards the datagrams that have arrived and were not received yet, and returns their number.
    pub fn discard_received(&mut self) -> usize {
        std::iter::from_fn(|| self.try_receive_datagram()).count()
    }

    /// Passes a datagram to the tunnel, sends the tunnel's answer, and returns the packet that the datagram carried.
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
            TunnelEvent::NotWireGuard => panic!("not a WireGuard message: {datagram:02x?}"),
        }
    }

    /// Returns the tunnel, to encrypt and decrypt by hand.
    pub fn tunnel(&mut self) -> &mut Tunnel {
        &mut self.tunnel
    }

    /// Returns the client's address as the gateway sees it: its SCION host and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tunnel
            .observed_address()
            .expect("an answered handshake")
    }

    /// Returns the UDP socket.
    #[must_use]
    pub fn socket(&self) -> &ShardSocket {
        &self.socket
    }

    /// Returns the local address of the socket.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    fn receive_datagram_until(&mut self, deadline: Option<Instant>) -> Option<Vec<u8>> {
        if self.received.is_empty() {
            let train = train::receive(&self.socket, deadline)?;
            assert!(
                self.gateway_may_move || train.from == self.gateway,
                "sender is {}, not the gateway {}",
                train.from,
                self.gateway
            );
            self.received
                .extend(train.into_datagrams().map(|one| one.to_vec()));
        }
        self.received.pop_front()
    }
}

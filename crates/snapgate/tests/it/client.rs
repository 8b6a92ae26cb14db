//! A client: one tunnel on one socket, driven by hand.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use ana_gotatun::packet::{Packet, WgKind};
use ana_gotatun::x25519::{PublicKey, StaticSecret};

/// How long a test waits for a datagram that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that clients of this process have had.
///
/// A gateway holds the address of a client that is gone, and sends to it, so the next client must not get it by chance.
static PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Binds a socket; where `bind` has port 0, to a port that no client has had.
fn bind_afresh(bind: &str) -> UdpSocket {
    let mut used = Vec::new();
    loop {
        let socket = UdpSocket::bind(bind).unwrap();
        let port = socket.local_addr().unwrap().port();
        if PORTS.lock().unwrap().insert(port) || bind.ends_with(&format!(":{port}")) {
            return socket;
        }
        // Held until another port is found.
        used.push(socket);
    }
}

/// A connected client.
pub(crate) struct Client {
    socket: UdpSocket,
    tunn: Tunn,
}

impl Client {
    /// Connects from `bind` (port 0 picks one) with an identity of its own.
    pub(crate) fn connect(bind: &str, gateway: SocketAddr, key: &PublicKey) -> Self {
        let mut identity = [0; 32];
        getrandom::fill(&mut identity).unwrap();
        Self::connect_as(StaticSecret::from(identity), bind, gateway, key)
    }

    /// Connects from `bind` as `identity`.
    pub(crate) fn connect_as(
        identity: StaticSecret,
        bind: &str,
        gateway: SocketAddr,
        key: &PublicKey,
    ) -> Self {
        Self::connect_on(bind_afresh(bind), identity, gateway, key)
    }

    /// Connects through `socket` as `identity`.
    pub(crate) fn connect_on(
        socket: UdpSocket,
        identity: StaticSecret,
        gateway: SocketAddr,
        key: &PublicKey,
    ) -> Self {
        let mut client = Self::initiate(identity, socket, gateway, key);
        while client.tunn.get_initiator_remote_sockaddr().is_none() {
            let _keepalive_or_nothing = client.receive_one();
        }
        client
    }

    /// Begins a handshake through `socket` as `identity`, and waits for no answer.
    pub(crate) fn initiate(
        identity: StaticSecret,
        socket: UdpSocket,
        gateway: SocketAddr,
        key: &PublicKey,
    ) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(gateway).unwrap();
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&identity), 1000));
        let indices = IndexTable::from_os_rng();
        let tunn = Tunn::new(identity, *key, None, None, indices, limiter, gateway);
        let mut client = Self { socket, tunn };
        let initiation = client.tunn.format_handshake_initiation(false).unwrap();
        client.send_datagram(initiation.into_bytes().as_ref());
        client
    }

    /// The address that the gateway sees: the SCION host and port of this client.
    pub(crate) fn address(&self) -> SocketAddr {
        self.tunn.get_initiator_remote_sockaddr().unwrap()
    }

    /// The socket, for the next client at this address.
    pub(crate) fn into_socket(self) -> UdpSocket {
        self.socket
    }

    /// Puts another socket, bound to the same address, into the place of this client's.
    pub(crate) fn replace_socket<S>(&mut self, bind: impl FnOnce(SocketAddr) -> S) -> S {
        let local = self.socket.local_addr().unwrap();
        self.socket = UdpSocket::bind(SocketAddr::new(local.ip(), 0)).unwrap();
        bind(local)
    }

    /// The datagram that carries `packet`.
    pub(crate) fn encapsulate(&mut self, packet: &[u8]) -> Packet {
        match self
            .tunn
            .handle_outgoing_packet(Packet::copy_from(packet), None)
        {
            Some(WgKind::Data(data)) => data.into_bytes(),
            other => panic!("not connected: {other:?}"),
        }
    }

    /// Sends `packet` through the tunnel.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        let datagram = self.encapsulate(packet);
        self.send_datagram(datagram.as_ref());
    }

    /// Sends bytes that are what they are.
    pub(crate) fn send_datagram(&self, datagram: &[u8]) {
        assert_eq!(self.socket.send(datagram).unwrap(), datagram.len());
    }

    /// The next packet out of the tunnel; keepalives are passed over.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Some(packet) = self.receive_one() {
                return packet;
            }
        }
    }

    /// How many datagrams have come that nobody received yet. They are lost.
    pub(crate) fn discard_received(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| self.socket.recv(&mut [0]).ok()).count();
        self.socket.set_nonblocking(false).unwrap();
        received
    }

    fn receive_one(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_535];
        let length = self
            .socket
            .recv(&mut buffer)
            .expect("a datagram should have come");
        let message = Packet::copy_from(&buffer[..length]).try_into_wg().unwrap();
        match self.tunn.handle_incoming_packet(message) {
            TunnResult::WriteToTunnel(packet) if !packet.is_empty() => Some(packet.to_vec()),
            TunnResult::WriteToNetwork(answer) => {
                let answer: Packet = answer.into();
                self.send_datagram(answer.as_ref());
                None
            }
            TunnResult::WriteToTunnel(_) | TunnResult::Done => None,
            TunnResult::Err(error) => panic!("the gateway sent something unusable: {error:?}"),
        }
    }
}

//! The client side of one SNAPtun tunnel, sans-I/O.

use std::net::SocketAddr;
use std::sync::Arc;

use ana_gotatun::noise::errors::WireGuardError;
use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use ana_gotatun::packet::{Packet, WgKind};
use ana_gotatun::tun::MtuWatcher;
use bytes::BytesMut;
use x25519_dalek::{PublicKey, StaticSecret};

/// A new private key, clamped (RFC 7748, section 5) like those of WireGuard: a gateway warns of others.
#[must_use]
pub fn identity() -> StaticSecret {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("random numbers");
    bytes[0] &= 0b1111_1000;
    bytes[31] = bytes[31] & 0b0111_1111 | 0b0100_0000;
    StaticSecret::from(bytes)
}

/// The client side of one tunnel. It opens no socket: datagrams go in and come out as bytes.
///
/// Retransmission and rekeying happen when the test asks for them: with [`Self::initiate`] or
/// [`Self::update_timers`].
pub struct Tunnel {
    tunn: Tunn,
    sessions: Option<SessionIndexes>,
}

/// The numbers that name a session on the wire, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionIndexes {
    /// The receiver index of data messages to the gateway.
    pub to_gateway: u32,
    /// The receiver index of data messages to the client.
    pub to_client: u32,
}

/// The tunnel stopped trying to reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp;

/// What a datagram from the gateway was.
#[derive(Debug)]
pub enum TunnelEvent {
    /// It carried this packet.
    Packet(Vec<u8>),
    /// A keepalive.
    Keepalive,
    /// It answered the handshake. Send this keepalive: the gateway uses the session from then on.
    Connected(Vec<u8>),
    /// The gateway began a handshake. Send this response.
    Response(Vec<u8>),
    /// The gateway demands a cookie. The next initiation shows it.
    Cookie,
    /// The tunnel refused it.
    Refused(WireGuardError),
    /// It is no WireGuard message.
    NotWireGuard,
}

impl Tunnel {
    /// A tunnel without a session from `identity` to the gateway at `address`.
    #[must_use]
    pub fn new(identity: StaticSecret, address: SocketAddr, gateway: &PublicKey) -> Self {
        // It limits nothing: there is one peer.
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&identity), u64::MAX));
        let indexes = IndexTable::from_os_rng();
        Self {
            tunn: Tunn::new(identity, *gateway, None, None, indexes, limiter, address),
            sessions: None,
        }
    }

    /// A handshake initiation, in place of one that is not answered yet. It carries a mac2 when
    /// the gateway gave a cookie.
    pub fn initiate(&mut self) -> Vec<u8> {
        let initiation = self.tunn.format_handshake_initiation(true);
        to_bytes(initiation.expect("an initiation").into())
    }

    /// Takes a datagram that came from the gateway.
    pub fn handle(&mut self, datagram: &[u8]) -> TunnelEvent {
        let Ok(message) = Packet::from_bytes(BytesMut::from(datagram)).try_into_wg() else {
            return TunnelEvent::NotWireGuard;
        };
        let new_session = match &message {
            WgKind::HandshakeResp(response) => Some(SessionIndexes {
                to_gateway: response.sender_idx.get(),
                to_client: response.receiver_idx.get(),
            }),
            _ => None,
        };
        match self.tunn.handle_incoming_packet(message) {
            TunnResult::WriteToTunnel(packet) if packet.is_empty() => TunnelEvent::Keepalive,
            TunnResult::WriteToTunnel(packet) => TunnelEvent::Packet(packet.to_vec()),
            TunnResult::WriteToNetwork(answer) => match (answer, new_session) {
                (confirm, Some(_)) => {
                    self.sessions = new_session;
                    TunnelEvent::Connected(to_bytes(confirm))
                }
                (WgKind::HandshakeResp(response), None) => {
                    self.sessions = Some(SessionIndexes {
                        to_gateway: response.receiver_idx.get(),
                        to_client: response.sender_idx.get(),
                    });
                    TunnelEvent::Response(to_bytes(response.into()))
                }
                (other, None) => panic!("an answer without a reason: {other:?}"),
            },
            TunnResult::Done => TunnelEvent::Cookie,
            TunnResult::Err(error) => TunnelEvent::Refused(error),
        }
    }

    /// The data message that carries `packet`; an empty packet is a keepalive.
    ///
    /// # Panics
    ///
    /// Without a session.
    pub fn encrypt(&mut self, packet: &[u8]) -> Vec<u8> {
        let packet = Packet::from_bytes(BytesMut::from(packet));
        match self.tunn.encapsulate_with_session(packet) {
            Ok(data) => to_bytes(data.into()),
            Err(_) => panic!("the tunnel has no session"),
        }
    }

    /// Like [`Self::encrypt`], padded with zeros to a multiple of 16 bytes, as `ana-gotatun` does by itself.
    ///
    /// # Panics
    ///
    /// Without a session.
    pub fn encrypt_padded(&mut self, packet: &[u8]) -> Vec<u8> {
        let packet = Packet::from_bytes(BytesMut::from(packet));
        // Padding ends there.
        let mut mtu = MtuWatcher::new(u16::MAX);
        match self.tunn.handle_outgoing_packet(packet, Some(&mut mtu)) {
            Some(WgKind::Data(data)) => to_bytes(data.into()),
            _ => panic!("the tunnel has no session"),
        }
    }

    /// What WireGuard's timers want to send now: a handshake, a keepalive, or nothing.
    ///
    /// # Errors
    ///
    /// The tunnel was silent for too long.
    pub fn update_timers(&mut self) -> Result<Option<Vec<u8>>, GivenUp> {
        let message = self.tunn.update_timers().map_err(|_| GivenUp)?;
        Ok(message.map(to_bytes))
    }

    /// Whether there is a session that packets can be encrypted in.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// Whether there is a session.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.sessions.is_some()
    }

    /// The indexes of the newest session.
    ///
    /// # Panics
    ///
    /// Without a session.
    #[must_use]
    pub fn session(&self) -> SessionIndexes {
        self.sessions.expect("a session")
    }

    /// The client's address as the gateway says it sees it, the SCION host and port; `None` before the first answer.
    #[must_use]
    pub fn observed_address(&self) -> Option<SocketAddr> {
        self.tunn.get_initiator_remote_sockaddr()
    }
}

fn to_bytes(message: WgKind) -> Vec<u8> {
    Packet::from(message).to_vec()
}

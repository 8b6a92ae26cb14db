//! Client side of a SNAPtun tunnel, sans-I/O.

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

/// Returns a new private key, clamped (RFC 7748, section 5) as in WireGuard: a gateway warns about other keys.
#[must_use]
pub fn identity() -> StaticSecret {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("random numbers");
    bytes[0] &= 0b1111_1000;
    bytes[31] = bytes[31] & 0b0111_1111 | 0b0100_0000;
    StaticSecret::from(bytes)
}

/// The client side of one tunnel, without a socket: datagrams are passed in and returned as bytes.
///
/// Retransmission and rekeying happen only on [`Self::initiate`] and [`Self::update_timers`].
pub struct Tunnel {
    tunn: Tunn,
    sessions: Option<SessionIndexes>,
}

/// Receiver indexes of a session, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionIndexes {
    /// Receiver index of data messages to the gateway.
    pub to_gateway: u32,
    /// Receiver index of data messages to the client.
    pub to_client: u32,
}

/// Error of a tunnel that stopped trying to reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp;

/// Meaning of a datagram from the gateway.
#[derive(Debug)]
pub enum TunnelEvent {
    /// A data message with this packet.
    Packet(Vec<u8>),
    /// A keepalive.
    Keepalive,
    /// A handshake response. The caller must send this keepalive, after which the gateway uses the session.
    Connected(Vec<u8>),
    /// A handshake initiation of the gateway. The caller must send this response.
    Response(Vec<u8>),
    /// A cookie reply. The next initiation carries the cookie.
    Cookie,
    /// Rejected by the tunnel.
    Refused(WireGuardError),
    /// Not a WireGuard message.
    NotWireGuard,
}

impl Tunnel {
    /// Creates a tunnel without a session from `identity` to the gateway at `address`.
    #[must_use]
    pub fn new(identity: StaticSecret, address: SocketAddr, gateway: &PublicKey) -> Self {
        // No rate limit: there is one peer.
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&identity), u64::MAX));
        let indexes = IndexTable::from_os_rng();
        Self {
            tunn: Tunn::new(identity, *gateway, None, None, indexes, limiter, address),
            sessions: None,
        }
    }

    /// Returns a handshake initiation, in place of a pending one. It has a mac2 if the gateway sent a cookie.
    pub fn initiate(&mut self) -> Vec<u8> {
        let initiation = self.tunn.format_handshake_initiation(true);
        to_bytes(initiation.expect("a forced initiation").into())
    }

    /// Handles a datagram from the gateway.
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
                (other, None) => panic!("unexpected answer: {other:?}"),
            },
            TunnResult::Done => TunnelEvent::Cookie,
            TunnResult::Err(error) => TunnelEvent::Refused(error),
        }
    }

    /// Returns the data message with `packet`; an empty packet is a keepalive.
    pub fn encrypt(&mut self, packet: &[u8]) -> Vec<u8> {
        let packet = Packet::from_bytes(BytesMut::from(packet));
        match self.tunn.encapsulate_with_session(packet) {
            Ok(data) => to_bytes(data.into()),
            Err(_) => panic!("the tunnel has no session"),
        }
    }

    /// Like [`Self::encrypt`], padded with zeros to a multiple of 16 bytes, the default of `ana-gotatun`.
    pub fn encrypt_padded(&mut self, packet: &[u8]) -> Vec<u8> {
        let packet = Packet::from_bytes(BytesMut::from(packet));
        // Upper bound of the padded length.
        let mut mtu = MtuWatcher::new(u16::MAX);
        match self.tunn.handle_outgoing_packet(packet, Some(&mut mtu)) {
            Some(WgKind::Data(data)) => to_bytes(data.into()),
            _ => panic!("the tunnel has no session"),
        }
    }

    /// Handles WireGuard's timers, and returns the initiation or keepalive to send, if any.
    ///
    /// # Errors
    ///
    /// [`GivenUp`] if the gateway was silent for too long.
    pub fn update_timers(&mut self) -> Result<Option<Vec<u8>>, GivenUp> {
        let message = self.tunn.update_timers().map_err(|_| GivenUp)?;
        Ok(message.map(to_bytes))
    }

    /// Returns true if there is a session for encrypting packets.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// Returns true once a handshake was completed.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.sessions.is_some()
    }

    /// Returns the indexes of the newest session.
    #[must_use]
    pub fn session(&self) -> SessionIndexes {
        self.sessions.expect("a session")
    }

    /// Returns the client's address (SCION host and port) as the gateway reported it; `None` before the first response.
    #[must_use]
    pub fn observed_address(&self) -> Option<SocketAddr> {
        self.tunn.get_initiator_remote_sockaddr()
    }
}

fn to_bytes(message: WgKind) -> Vec<u8> {
    Packet::from(message).to_vec()
}

//! A client of the gateway: the initiator's side of a tunnel, played by `ana-gotatun` itself.
//!
//! The tests with a virtual clock include this file too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use snaptun::{Endpoint, Packet, PublicKey, StaticSecret, Via};

pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    secret: StaticSecret,
    gateway: PublicKey,
    tunn: Tunn,
}

/// What a datagram meant to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Data; empty for a keepalive.
    Data(Vec<u8>),
    /// A message that asks for this datagram in return.
    Answer(Vec<u8>),
    /// A cookie.
    Cookie,
    /// The client refused it.
    Refused,
}

impl Client {
    /// Makes the client with the identity number `identity`, at an address that follows from it.
    pub(crate) fn new(identity: u16, gateway: PublicKey) -> Self {
        let [high, low] = identity.to_be_bytes();
        Client::at(
            SocketAddr::from(([10, 0, high, low], 40_000)),
            identity,
            gateway,
        )
    }

    pub(crate) fn at(remote: SocketAddr, identity: u16, gateway: PublicKey) -> Self {
        let secret = secret(identity);
        let tunn = new_tunn(&secret, gateway, remote);
        let via = Via {
            listener: 3,
            local_ip: Some(IpAddr::from([192, 0, 2, 1])),
        };
        let endpoint = Endpoint { remote, via };
        Client {
            endpoint,
            secret,
            gateway,
            tunn,
        }
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.endpoint.remote
    }

    pub(crate) fn identity(&self) -> [u8; 32] {
        PublicKey::from(&self.secret).to_bytes()
    }

    /// The process ends and starts again with the same key, on the same port.
    pub(crate) fn restart(&mut self) {
        self.tunn = new_tunn(&self.secret, self.gateway, self.endpoint.remote);
    }

    /// Starts a handshake, whether or not one is under way.
    pub(crate) fn initiation(&mut self) -> Vec<u8> {
        to_bytes(self.tunn.format_handshake_initiation(true).expect("forced"))
    }

    /// Encapsulates a packet in the session that there has to be.
    pub(crate) fn data(&mut self, packet: &[u8]) -> Vec<u8> {
        let packet = self
            .tunn
            .encapsulate_with_session(Packet::copy_from(packet));
        to_bytes(packet.expect("the client has a session"))
    }

    pub(crate) fn has_session(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    pub(crate) fn receive(&mut self, datagram: &[u8]) -> Received {
        let Ok(message) = Packet::copy_from(datagram).try_into_wg() else {
            return Received::Refused;
        };
        match self.tunn.handle_incoming_packet(message) {
            TunnResult::Done => Received::Cookie,
            TunnResult::Err(_) => Received::Refused,
            TunnResult::WriteToNetwork(answer) => Received::Answer(to_bytes(answer)),
            TunnResult::WriteToTunnel(packet) => Received::Data(packet.to_vec()),
        }
    }

    /// What the timers want to send; `Err` when the client gives up.
    pub(crate) fn update_timers(&mut self) -> Result<Option<Vec<u8>>, ()> {
        self.tunn
            .update_timers()
            .map(|message| message.map(to_bytes))
            .map_err(drop)
    }

    /// The address that the gateway reported.
    pub(crate) fn observed_address(&self) -> Option<SocketAddr> {
        self.tunn.get_initiator_remote_sockaddr()
    }
}

/// The private key with the number `identity`.
pub(crate) fn secret(identity: u16) -> StaticSecret {
    let mut key = [0x5a; 32];
    key[..2].copy_from_slice(&identity.to_be_bytes());
    StaticSecret::from(key)
}

fn new_tunn(secret: &StaticSecret, gateway: PublicKey, remote: SocketAddr) -> Tunn {
    let limiter = Arc::new(RateLimiter::new(&PublicKey::from(secret), u64::MAX));
    let indices = IndexTable::from_os_rng();
    Tunn::new(
        secret.clone(),
        gateway,
        None,
        None,
        indices,
        limiter,
        remote,
    )
}

fn to_bytes(message: impl Into<Packet>) -> Vec<u8> {
    message.into().to_vec()
}

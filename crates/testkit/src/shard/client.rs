//! A client of a shard.

use std::net::{IpAddr, SocketAddr};

use snaptun::{Endpoint, PublicKey, StaticSecret, Via};

use crate::tunnel::{GivenUp, Tunnel, TunnelEvent};

/// A [`Tunnel`] with an identity that a number stands for, and the address that the shard sees it at.
pub struct Client {
    /// Where its datagrams come from.
    pub endpoint: Endpoint,
    secret: StaticSecret,
    gateway: PublicKey,
    tunnel: Tunnel,
}

/// What a datagram meant to a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
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
    #[must_use]
    pub fn new(identity: u16, gateway: PublicKey) -> Self {
        let [high, low] = identity.to_be_bytes();
        Client::at(
            SocketAddr::from(([10, 0, high, low], 40_000)),
            identity,
            gateway,
        )
    }

    /// Makes the client with the identity number `identity` at `remote`.
    #[must_use]
    pub fn at(remote: SocketAddr, identity: u16, gateway: PublicKey) -> Self {
        let secret = secret(identity);
        let via = Via {
            listener: 3,
            local_ip: Some(IpAddr::from([192, 0, 2, 1])),
        };
        Client {
            endpoint: Endpoint { remote, via },
            tunnel: Tunnel::new(secret.clone(), remote, &gateway),
            secret,
            gateway,
        }
    }

    /// The address that the shard sees it at.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.endpoint.remote
    }

    /// Its public key.
    #[must_use]
    pub fn identity(&self) -> [u8; 32] {
        PublicKey::from(&self.secret).to_bytes()
    }

    /// The process ends and starts again with the same key, on the same port.
    pub fn restart(&mut self) {
        self.tunnel = Tunnel::new(self.secret.clone(), self.endpoint.remote, &self.gateway);
    }

    /// Starts a handshake, whether or not one is under way.
    pub fn initiation(&mut self) -> Vec<u8> {
        self.tunnel.initiate()
    }

    /// Encapsulates a packet in the session that there has to be.
    pub fn data(&mut self, packet: &[u8]) -> Vec<u8> {
        self.tunnel.encrypt(packet)
    }

    /// Whether there is a session that packets can be encapsulated in.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.tunnel.has_session()
    }

    /// Takes a datagram of the gateway.
    pub fn receive(&mut self, datagram: &[u8]) -> Received {
        match self.tunnel.handle(datagram) {
            TunnelEvent::Packet(packet) => Received::Data(packet),
            TunnelEvent::Keepalive => Received::Data(Vec::new()),
            TunnelEvent::Connected(answer) | TunnelEvent::Response(answer) => {
                Received::Answer(answer)
            }
            TunnelEvent::Cookie => Received::Cookie,
            TunnelEvent::Refused(_) | TunnelEvent::NotWireGuard => Received::Refused,
        }
    }

    /// What the timers want to send.
    ///
    /// # Errors
    /// The client gives up.
    pub fn update_timers(&mut self) -> Result<Option<Vec<u8>>, GivenUp> {
        self.tunnel.update_timers()
    }

    /// The address that the gateway reported.
    #[must_use]
    pub fn observed_address(&self) -> Option<SocketAddr> {
        self.tunnel.observed_address()
    }
}

/// The private key with the number `identity`.
#[must_use]
pub fn secret(identity: u16) -> StaticSecret {
    let mut key = [0x5a; 32];
    key[..2].copy_from_slice(&identity.to_be_bytes());
    StaticSecret::from(key)
}

//! Client of a shard.

use std::net::{IpAddr, SocketAddr};

use snaptun::{Endpoint, PublicKey, StaticSecret, Via};

use crate::tunnel::{GivenUp, Tunnel, TunnelEvent};

/// A [`Tunnel`] with a numbered identity, and its address at the shard.
pub struct Client {
    /// Source of its datagrams, as the shard sees it.
    pub endpoint: Endpoint,
    secret: StaticSecret,
    gateway: PublicKey,
    tunnel: Tunnel,
}

/// Meaning of a datagram for a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Data; empty for a keepalive.
    Data(Vec<u8>),
    /// A handshake message, and the client's answer to it.
    Answer(Vec<u8>),
    /// A cookie reply.
    Cookie,
    /// Rejected by the client.
    Refused,
}

impl Client {
    /// Creates the client with the identity number `identity`, at an address derived from it.
    #[must_use]
    pub fn new(identity: u16, gateway: PublicKey) -> Self {
        let [high, low] = identity.to_be_bytes();
        Client::at(
            SocketAddr::from(([10, 0, high, low], 40_000)),
            identity,
            gateway,
        )
    }

    /// Creates the client with the identity number `identity` at `remote`.
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

    /// Returns the address of the client, as the shard sees it.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.endpoint.remote
    }

    /// Returns the public key of the client.
    #[must_use]
    pub fn identity(&self) -> [u8; 32] {
        PublicKey::from(&self.secret).to_bytes()
    }

    /// Restarts the client with the same key on the same port.
    pub fn restart(&mut self) {
        self.tunnel = Tunnel::new(self.secret.clone(), self.endpoint.remote, &self.gateway);
    }

    /// Returns a handshake initiation, in place of a pending one.
    pub fn initiation(&mut self) -> Vec<u8> {
        self.tunnel.initiate()
    }

    /// Encapsulates a packet.
    pub fn data(&mut self, packet: &[u8]) -> Vec<u8> {
        self.tunnel.encrypt(packet)
    }

    /// Returns true if there is a session for sending packets.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.tunnel.has_session()
    }

    /// Handles a datagram from the gateway.
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

    /// Handles the timers, and returns the datagram to send, if any.
    ///
    /// # Errors
    ///
    /// [`GivenUp`] if the gateway was silent for too long.
    pub fn update_timers(&mut self) -> Result<Option<Vec<u8>>, GivenUp> {
        self.tunnel.update_timers()
    }

    /// Returns the client's address as the gateway reported it.
    #[must_use]
    pub fn observed_address(&self) -> Option<SocketAddr> {
        self.tunnel.observed_address()
    }
}

/// Returns the private key with the number `identity`.
#[must_use]
pub fn secret(identity: u16) -> StaticSecret {
    let mut key = [0x5a; 32];
    key[..2].copy_from_slice(&identity.to_be_bytes());
    StaticSecret::from(key)
}

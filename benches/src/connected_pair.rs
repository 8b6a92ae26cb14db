//! Clients and a shard without a network between them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use snaptun::{
    Endpoint, Grant, HandshakeLimits, Incoming, Packet, PublicKey, ReplayGuard, ShardConfig,
    SnapTunAuthorization, SnapTunServer, StaticSecret, Transmit, Via,
};

use crate::{StepError, gateway_key};

/// Authorization of every identity.
#[derive(Debug)]
pub struct AnyIdentity;

impl SnapTunAuthorization for AnyIdentity {
    type SessionData = ();

    fn is_authorized(&self, _now: Instant, _identity: &[u8; 32]) -> Option<Grant<()>> {
        Some(Grant {
            expires: None,
            session_data: (),
        })
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// Limit of tunnels, above the number in any measurement.
const TUNNELS_MAX: usize = 1 << 20;

/// A shard, and a factory of its clients.
pub struct ShardWithTunnels {
    /// The shard.
    pub shard: SnapTunServer<AnyIdentity>,
    /// Datagrams that the shard sends.
    pub transmits: VecDeque<Transmit>,
    clients: ClientMaker,
}

/// Common parts of all clients.
struct ClientMaker {
    gateway: PublicKey,
    indices: IndexTable,
    limiter: Arc<RateLimiter>,
}

impl ClientMaker {
    fn make(&self, number: u64, client: SocketAddr) -> Tunn {
        let mut secret = [9; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        Tunn::new(
            StaticSecret::from(secret),
            self.gateway,
            None,
            None,
            self.indices.clone(),
            Arc::clone(&self.limiter),
            client,
        )
    }
}

impl ShardWithTunnels {
    /// Creates a shard without tunnels and without a limit of handshakes.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self::with_handshakes_per_second(now, u64::MAX)
    }

    /// Creates a shard without tunnels that accepts `handshakes_per_second` handshakes without a cookie.
    #[must_use]
    pub fn with_handshakes_per_second(now: Instant, handshakes_per_second: u64) -> Self {
        let secret = gateway_key();
        let gateway = PublicKey::from(&secret);
        let config = ShardConfig {
            handshakes_per_ip_per_second: handshakes_per_second,
            handshakes_per_second,
            tunnels_per_shard: TUNNELS_MAX,
            half_open_tunnels: TUNNELS_MAX,
            ..ShardConfig::default()
        };
        let replay_guard = ReplayGuard::new(
            now,
            ReplayGuard::IDENTITIES_DEFAULT,
            ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT,
        );
        let handshake_limits = HandshakeLimits::new(now, &config, 1);
        Self {
            shard: SnapTunServer::new(
                now,
                secret,
                Arc::new(AnyIdentity),
                Arc::new(replay_guard),
                Arc::new(handshake_limits),
                config,
            ),
            transmits: VecDeque::new(),
            clients: ClientMaker {
                gateway,
                indices: IndexTable::from_os_rng(),
                limiter: Arc::new(RateLimiter::new(&gateway, u64::MAX)),
            },
        }
    }

    /// Returns the address of client `number`.
    #[must_use]
    pub fn address_of(number: usize) -> SocketAddr {
        let [_, high, middle, low] = (number as u32).to_be_bytes();
        SocketAddr::from(([10, high, middle, low], 40_000))
    }

    /// Creates client `number` without a tunnel, and returns it with its initiation.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if it makes no initiation.
    pub fn initiate(&self, number: usize) -> Result<(Tunn, Packet), StepError> {
        let mut client = self.clients.make(number as u64, Self::address_of(number));
        let initiation = client
            .format_handshake_initiation(false)
            .ok_or(StepError::Tunnel("the client made no initiation"))?;
        Ok((client, initiation.into_bytes()))
    }

    /// Passes a datagram of client `number` to the shard; returns true if the shard delivers a packet.
    pub fn deliver(&mut self, now: Instant, number: usize, datagram: Packet) -> bool {
        let from = Endpoint {
            remote: Self::address_of(number),
            via: Via::default(),
        };
        let fate = self
            .shard
            .handle_incoming_packet(now, datagram, from, &mut self.transmits);
        matches!(fate, Incoming::Delivered { .. })
    }

    /// Connects client `number`, and returns its side of the tunnel.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if the handshake fails.
    pub fn connect(&mut self, now: Instant, number: usize) -> Result<Tunn, StepError> {
        let (mut client, initiation) = self.initiate(number)?;
        self.deliver(now, number, initiation);
        let response = self
            .transmits
            .pop_front()
            .and_then(|transmit| transmit.packet.try_into_wg().ok())
            .ok_or(StepError::Tunnel("the shard did not answer an initiation"))?;
        let TunnResult::WriteToNetwork(keepalive) = client.handle_incoming_packet(response) else {
            return Err(StepError::Tunnel("the client rejected the response"));
        };
        self.deliver(now, number, keepalive.into());
        Ok(client)
    }
}

/// A client and a shard with one tunnel between them.
pub struct ConnectedPair {
    /// The shard, whose client 0 is connected.
    pub gateway: ShardWithTunnels,
    /// The client's side of the tunnel.
    pub client: Tunn,
}

impl ConnectedPair {
    /// Connects a client to a new shard.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if the handshake fails.
    pub fn connect() -> Result<Self, StepError> {
        let now = Instant::now();
        let mut gateway = ShardWithTunnels::new(now);
        let client = gateway.connect(now, 0)?;
        Ok(Self { gateway, client })
    }

    /// Returns the client's datagram with `packet`; `None` if there is no session.
    pub fn encapsulate(&mut self, packet: &[u8]) -> Option<Packet> {
        let data = self
            .client
            .encapsulate_with_session(Packet::copy_from(packet))
            .ok()?;
        Some(data.into())
    }
}

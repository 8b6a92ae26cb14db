//! What the benchmarks work on: packets, and a client connected to a shard without a network.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress};
use snaptun::{
    Endpoint, Grant, Incoming, Packet, PublicKey, ReplayGuard, ShardConfig, SnapTunAuthorization,
    SnapTunServer, StaticSecret, Transmit, Via,
};

/// The AS of the gateway.
pub const LOCAL_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

const REMOTE_ISD_AS: IsdAs = IsdAs::from_u64(0x0002_ff00_0000_0220);

/// Bytes of a SCION header with a path of two hops over IPv4, and of the UDP header behind it.
const HEADERS_BYTES: usize = 36 + 4 + 8 + 2 * 12 + 8;

/// A UDP packet of `size` bytes from `client` to a far host, by interface 1 of its AS.
///
/// # Errors
///
/// [`BuildError`] when `size` has more than 16 bits.
pub fn packet_to_remote(client: SocketAddr, size: usize) -> Result<Vec<u8>, BuildError> {
    let source = ScionAddress {
        isd_as: LOCAL_ISD_AS,
        ip: client.ip(),
    };
    let destination = ScionAddress {
        isd_as: REMOTE_ISD_AS,
        ip: [198, 51, 100, 9].into(),
    };
    let info_field = InfoField {
        construction_direction: true,
        ..InfoField::default()
    };
    let first = HopField {
        cons_egress: 1,
        ..HopField::default()
    };
    let last = HopField {
        cons_ingress: 1,
        ..HopField::default()
    };
    let path = [Segment {
        info_field,
        hop_fields: vec![first, last],
    }];
    let payload = vec![0x5a; size.saturating_sub(HEADERS_BYTES)];
    let mut packet = Vec::with_capacity(size);
    PacketBuilder::new(source, destination)
        .with_path(&path)?
        .append_udp(client.port(), 443, &payload, &mut packet)?;
    Ok(packet)
}

/// Everyone may have a tunnel.
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

/// A client and a shard with one tunnel between them.
pub struct ConnectedPair {
    /// The gateway's side.
    pub shard: SnapTunServer<AnyIdentity>,
    /// The client's side.
    pub client: Tunn,
    /// Where the client is.
    pub endpoint: Endpoint,
    /// What the shard wants sent.
    pub transmits: VecDeque<Transmit>,
}

impl ConnectedPair {
    /// Connects `client` to a new shard; `None` when the handshake fails.
    pub fn connect(client: SocketAddr) -> Option<Self> {
        let secret = StaticSecret::from([7; 32]);
        let public = PublicKey::from(&secret);
        let now = Instant::now();
        let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        let indices = IndexTable::from_os_rng();
        let identity = StaticSecret::from([9; 32]);
        let mut pair = Self {
            shard: SnapTunServer::new(
                now,
                secret,
                Arc::new(AnyIdentity),
                Arc::new(ReplayGuard::new(now, SystemTime::now(), 100)),
                ShardConfig::default(),
            ),
            client: Tunn::new(identity, public, None, None, indices, limiter, client),
            endpoint: Endpoint {
                remote: client,
                via: Via::default(),
            },
            transmits: VecDeque::new(),
        };
        let initiation = pair.client.format_handshake_initiation(false)?;
        pair.deliver(now, initiation.into_bytes());
        let response = pair.transmits.pop_front()?.packet.try_into_wg().ok()?;
        let TunnResult::WriteToNetwork(keepalive) = pair.client.handle_incoming_packet(response)
        else {
            return None;
        };
        pair.deliver(now, keepalive.into());
        Some(pair)
    }

    /// The datagram in which the client sends `packet`; `None` without a session.
    pub fn encapsulate(&mut self, packet: &[u8]) -> Option<Packet> {
        let data = self
            .client
            .encapsulate_with_session(Packet::copy_from(packet))
            .ok()?;
        Some(data.into())
    }

    /// Gives the shard a datagram of the client; true when a packet was in it.
    pub fn deliver(&mut self, now: Instant, datagram: Packet) -> bool {
        let fate =
            self.shard
                .handle_incoming_packet(now, datagram, self.endpoint, &mut self.transmits);
        matches!(fate, Incoming::Delivered { .. })
    }
}

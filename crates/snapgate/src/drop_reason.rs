//! Every reason for which a datagram can be dropped, in one closed list.

use scion_packet::{MalformedPacket, NoDeliveryPort, NoEgressInterface, PolicyViolation};
use udp_shards::SendError;

/// Why a datagram was dropped.
///
/// The reasons of the crates below keep their own enums; this one adds those of the gateway and
/// gives all of them one index, so that a worker counts drops in one array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// It was larger than the receive buffer, and its end is lost.
    Truncated,
    /// The shard refused it: not a message for one of its tunnels.
    Tunnel(snaptun::DropReason),
    /// It came from an endhost, out of a tunnel or by UDP from the AS, and violates the policy for
    /// what endhosts may send.
    Policy(PolicyViolation),
    /// It came from SCION and is no SCION packet.
    Header(MalformedPacket),
    /// It was for a tunnel and was not let in.
    Admission(AdmissionError),
    /// Its upper layer names no port, so no tunnel can be its destination.
    DeliveryPort(NoDeliveryPort),
    /// Its path names no interface that it leaves our AS by.
    Egress(NoEgressInterface),
    /// The gateway knows no place for it.
    Route(RouteError),
    /// It was lost in a queue between two steps of its way.
    Queue(QueueLoss),
    /// The kernel refused to send it.
    Send(SendError),
}

/// Why a SCION packet for a tunnel was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdmissionError {
    /// It came to the internal address neither from a router, nor from its SCION source host in a
    /// local AS, nor from a configured prefix.
    ForeignSource,
    /// It is an SCMP error, and its tunnel, or the tunnel that it came from, had too many.
    ScmpTunnelLimit,
    /// It is an SCMP error, and the worker had too many.
    ScmpWorkerLimit,
}

/// Why the gateway knows no place for a SCION packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteError {
    /// The destination host is not an IP address.
    NoHostAddress,
    /// No router is configured for the first hop's interface.
    NoNextHop,
    /// The destination is neither a tunnel of this gateway nor in a local prefix.
    NoTunnel,
}

/// How a datagram was lost in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueLoss {
    /// The mailbox of another worker was full.
    MailboxFull,
    /// Too many handshakes waited for their share of the worker's time.
    HandshakesFull,
    /// Too many datagrams waited for the socket to become writable.
    SendQueueFull,
    /// It waited for the session of a tunnel that expired.
    TunnelExpired,
    /// It waited for the session of a tunnel whose identity is no longer authorized.
    TunnelRevoked,
    /// It waited for the session of a tunnel that had to make room for another.
    TunnelDisplaced,
    /// The gateway stopped while it waited.
    Stopped,
}

impl AdmissionError {
    const ALL: [Self; 3] = [
        Self::ForeignSource,
        Self::ScmpTunnelLimit,
        Self::ScmpWorkerLimit,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::ForeignSource => "foreign_source",
            Self::ScmpTunnelLimit => "scmp_tunnel_limit",
            Self::ScmpWorkerLimit => "scmp_worker_limit",
        }
    }
}

impl RouteError {
    const ALL: [Self; 3] = [Self::NoHostAddress, Self::NoNextHop, Self::NoTunnel];

    const fn name(self) -> &'static str {
        match self {
            Self::NoHostAddress => "no_host_address",
            Self::NoNextHop => "no_next_hop",
            Self::NoTunnel => "no_tunnel",
        }
    }
}

impl QueueLoss {
    const ALL: [Self; 7] = [
        Self::MailboxFull,
        Self::HandshakesFull,
        Self::SendQueueFull,
        Self::TunnelExpired,
        Self::TunnelRevoked,
        Self::TunnelDisplaced,
        Self::Stopped,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::MailboxFull => "mailbox_full",
            Self::HandshakesFull => "handshakes_full",
            Self::SendQueueFull => "send_queue_full",
            Self::TunnelExpired => "tunnel_expired",
            Self::TunnelRevoked => "tunnel_revoked",
            Self::TunnelDisplaced => "tunnel_displaced",
            Self::Stopped => "stopped",
        }
    }
}

// Where the reasons of each kind begin among all.
const TRUNCATED: usize = 0;
const TUNNEL: usize = TRUNCATED + 1;
const POLICY: usize = TUNNEL + snaptun::DropReason::ALL.len();
const HEADER: usize = POLICY + PolicyViolation::ALL.len();
const ADMISSION: usize = HEADER + MalformedPacket::ALL.len();
const DELIVERY_PORT: usize = ADMISSION + AdmissionError::ALL.len();
const EGRESS: usize = DELIVERY_PORT + NoDeliveryPort::ALL.len();
const ROUTE: usize = EGRESS + NoEgressInterface::ALL.len();
const QUEUE: usize = ROUTE + RouteError::ALL.len();
const SEND: usize = QUEUE + QueueLoss::ALL.len();

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = SEND + SendError::ALL.len();

    /// Every reason, in the order of [`DropReason::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Truncated)
            .chain(snaptun::DropReason::ALL.into_iter().map(Self::Tunnel))
            .chain(PolicyViolation::ALL.into_iter().map(Self::Policy))
            .chain(MalformedPacket::ALL.into_iter().map(Self::Header))
            .chain(AdmissionError::ALL.into_iter().map(Self::Admission))
            .chain(NoDeliveryPort::ALL.into_iter().map(Self::DeliveryPort))
            .chain(NoEgressInterface::ALL.into_iter().map(Self::Egress))
            .chain(RouteError::ALL.into_iter().map(Self::Route))
            .chain(QueueLoss::ALL.into_iter().map(Self::Queue))
            .chain(SendError::ALL.into_iter().map(Self::Send))
    }

    /// Its place among all reasons: less than [`DropReason::COUNT`].
    pub fn index(self) -> usize {
        match self {
            Self::Truncated => TRUNCATED,
            Self::Tunnel(reason) => TUNNEL + reason.index(),
            Self::Policy(violation) => POLICY + violation.index(),
            Self::Header(malformed) => HEADER + malformed.index(),
            Self::Admission(error) => ADMISSION + error as usize,
            Self::DeliveryPort(error) => DELIVERY_PORT + error.index(),
            Self::Egress(error) => EGRESS + error.index(),
            Self::Route(error) => ROUTE + error as usize,
            Self::Queue(loss) => QUEUE + loss as usize,
            Self::Send(error) => SEND + error.index(),
        }
    }

    /// The step of a packet's way that dropped it: the metrics' label `stage`.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Truncated => "receive",
            Self::Tunnel(_) => "tunnel",
            Self::Policy(_) => "policy",
            Self::Header(_) => "header",
            Self::Admission(_) => "upstream",
            Self::DeliveryPort(_) => "delivery_port",
            Self::Egress(_) => "egress",
            Self::Route(_) => "route",
            Self::Queue(_) => "queue",
            Self::Send(_) => "send",
        }
    }

    /// What was wrong: the metrics' label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Tunnel(reason) => reason.name(),
            Self::Policy(violation) => violation.name(),
            Self::Header(malformed) => malformed.name(),
            Self::Admission(error) => error.name(),
            Self::DeliveryPort(error) => error.name(),
            Self::Egress(error) => error.name(),
            Self::Route(error) => error.name(),
            Self::Queue(loss) => loss.name(),
            Self::Send(error) => error.name(),
        }
    }
}

impl From<MalformedPacket> for DropReason {
    fn from(malformed: MalformedPacket) -> Self {
        Self::Header(malformed)
    }
}

impl From<AdmissionError> for DropReason {
    fn from(error: AdmissionError) -> Self {
        Self::Admission(error)
    }
}

impl From<NoDeliveryPort> for DropReason {
    fn from(error: NoDeliveryPort) -> Self {
        Self::DeliveryPort(error)
    }
}

impl From<NoEgressInterface> for DropReason {
    fn from(error: NoEgressInterface) -> Self {
        Self::Egress(error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_index_and_labels() {
        let indexes: Vec<usize> = DropReason::all().map(DropReason::index).collect();
        assert_eq!(indexes, (0..DropReason::COUNT).collect::<Vec<_>>());

        let labels: HashSet<_> = DropReason::all().map(|r| (r.stage(), r.name())).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
    }
}

//! Why a packet went no further.

use ana_gotatun::noise::TunnResult;
use ana_gotatun::noise::errors::WireGuardError;

/// Why a packet went no further: the complete list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Incoming: no SNAPtun message. Its type, its reserved bytes or its length are wrong.
    Malformed,
    /// Incoming: a message other than an initiation from an address without a tunnel. Outgoing: no
    /// tunnel has this remote address.
    NoTunnel,
    /// Incoming: a handshake message whose first message authentication code is wrong. The sender does
    /// not know our public key.
    InvalidMac,
    /// Incoming: a handshake message with a valid cookie, beyond what its address may send in a second.
    AddressHandshakeLimit,
    /// Incoming: an initiation with a valid cookie, beyond what all shards take in in a second.
    TotalHandshakeLimit,
    /// Incoming: a handshake message without a cookie, beyond what its address or all together may have in a
    /// second, from an address that was sent enough cookies in this second.
    CookieReplyLimit,
    /// The identity may not have a tunnel, or no longer: what it had is gone.
    Unauthorized,
    /// Incoming: an initiation of another identity than the one that holds the address, and is heard from.
    AddressHeld,
    /// Incoming: an initiation of an identity whose tunnels are too many, and all in use.
    IdentityTunnelLimit,
    /// Incoming: an initiation of an identity whose handshakes in this second are as many as may be answered.
    IdentityHandshakeLimit,
    /// Incoming: an initiation that there is no room for: all tunnels of the shard are in use.
    ShardTunnelLimit,
    /// Incoming: a message that would make a tunnel, while the shard [drains](crate::SnapTunServer::drain).
    Draining,
    /// Incoming: an initiation that was accepted before, by this shard or another, or that is too old to
    /// tell ([`ReplayGuard`](crate::ReplayGuard)).
    ReplayedInitiation,
    /// Incoming: an initiation whose timestamp is too far ahead of the system clock
    /// ([`ReplayGuard`](crate::ReplayGuard)).
    FutureTimestamp,
    /// Incoming: an initiation that is not newer than the last one of its tunnel.
    StaleInitiation,
    /// Incoming: a handshake response or cookie reply that answers nothing we asked.
    Unsolicited,
    /// Incoming: data for a session that does not exist, or no longer.
    NoSession,
    /// Incoming: data whose counter was seen before, or is too old to tell.
    Replayed,
    /// Incoming: the authentication tag is wrong.
    Forged,
    /// Outgoing: an empty packet. On the wire it would be a keepalive, which no one is given.
    Empty,
    /// Outgoing: no session yet, and no room for one more waiting packet.
    WaitingQueueFull,
}

impl DropReason {
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: [DropReason; 21] = [
        DropReason::Malformed,
        DropReason::NoTunnel,
        DropReason::InvalidMac,
        DropReason::AddressHandshakeLimit,
        DropReason::TotalHandshakeLimit,
        DropReason::CookieReplyLimit,
        DropReason::Unauthorized,
        DropReason::AddressHeld,
        DropReason::IdentityTunnelLimit,
        DropReason::IdentityHandshakeLimit,
        DropReason::ShardTunnelLimit,
        DropReason::Draining,
        DropReason::ReplayedInitiation,
        DropReason::FutureTimestamp,
        DropReason::StaleInitiation,
        DropReason::Unsolicited,
        DropReason::NoSession,
        DropReason::Replayed,
        DropReason::Forged,
        DropReason::Empty,
        DropReason::WaitingQueueFull,
    ];

    /// The position in [`ALL`](Self::ALL), for an array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A name in snake case, for a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed",
            DropReason::NoTunnel => "no_tunnel",
            DropReason::InvalidMac => "invalid_mac",
            DropReason::AddressHandshakeLimit => "address_handshake_limit",
            DropReason::TotalHandshakeLimit => "total_handshake_limit",
            DropReason::CookieReplyLimit => "cookie_reply_limit",
            DropReason::Unauthorized => "unauthorized",
            DropReason::AddressHeld => "address_held",
            DropReason::IdentityTunnelLimit => "identity_tunnel_limit",
            DropReason::IdentityHandshakeLimit => "identity_handshake_limit",
            DropReason::ShardTunnelLimit => "shard_tunnel_limit",
            DropReason::Draining => "draining",
            DropReason::ReplayedInitiation => "replayed_initiation",
            DropReason::FutureTimestamp => "future_timestamp",
            DropReason::StaleInitiation => "stale_initiation",
            DropReason::Unsolicited => "unsolicited",
            DropReason::NoSession => "no_session",
            DropReason::Replayed => "replayed",
            DropReason::Forged => "forged",
            DropReason::Empty => "empty",
            DropReason::WaitingQueueFull => "waiting_queue_full",
        }
    }

    /// The reason behind a result of `Tunn` that is not the one its message asks for.
    pub(crate) fn of_result(result: &TunnResult) -> Self {
        match result {
            TunnResult::Err(error) => Self::of_error(error),
            TunnResult::Done | TunnResult::WriteToNetwork(_) | TunnResult::WriteToTunnel(_) => {
                DropReason::Unsolicited
            }
        }
    }

    /// The reason behind an error of the WireGuard state machine.
    pub(crate) fn of_error(error: &WireGuardError) -> Self {
        match error {
            WireGuardError::InvalidMac => DropReason::InvalidMac,
            WireGuardError::InvalidAeadTag => DropReason::Forged,
            WireGuardError::WrongKey => DropReason::AddressHeld,
            WireGuardError::WrongTai64nTimestamp => DropReason::StaleInitiation,
            WireGuardError::UnexpectedPacket | WireGuardError::WrongIndex => {
                DropReason::Unsolicited
            }
            WireGuardError::NoCurrentSession => DropReason::NoSession,
            // `ConnectionExpired`, said of a data packet: its counter is beyond
            // Reject-After-Messages (WireGuard whitepaper, section 6.1).
            WireGuardError::DuplicateCounter
            | WireGuardError::InvalidCounter
            | WireGuardError::ConnectionExpired => DropReason::Replayed,
            WireGuardError::DestinationBufferTooSmall
            | WireGuardError::IncorrectPacketLength
            | WireGuardError::WrongPacketType
            | WireGuardError::InvalidTai64nTimestamp
            | WireGuardError::InvalidPacket
            | WireGuardError::LockFailed => DropReason::Malformed,
        }
    }
}

const _: () = {
    let mut index = 0;
    while index < DropReason::ALL.len() {
        assert!(DropReason::ALL[index].index() == index);
        index += 1;
    }
};

//! Why a packet went no further.

use ana_gotatun::noise::TunnResult;
use ana_gotatun::noise::errors::WireGuardError;
use closed_enum::closed_enum;

closed_enum! {
    /// Why a packet went no further: the complete list.
    pub enum DropReason {
        Malformed: "malformed", "no SNAPtun message: wrong type, reserved bytes or length";
        NoTunnel: "no_tunnel",
            "from an address without a tunnel and no initiation, or to an address without a tunnel";
        InvalidMac: "invalid_mac",
            "wrong first message authentication code: the sender does not know the gateway's public key";
        AddressHandshakeLimit: "address_handshake_limit",
            "handshake message with a cookie, beyond the limit of its address";
        TotalHandshakeLimit: "total_handshake_limit",
            "initiation with a cookie, beyond the limit of all shards together";
        CookieReplyLimit: "cookie_reply_limit",
            "handshake message without a cookie, beyond its limits, from an address that was sent enough cookies";
        /// What the identity had is gone.
        Unauthorized: "unauthorized", "the identity may not have a tunnel, or no longer";
        AddressHeld: "address_held",
            "initiation of another identity than that of the tunnel at the address, which is in use";
        IdentityTunnelLimit: "identity_tunnel_limit",
            "initiation of an identity that has its maximum of tunnels, all in use";
        IdentityHandshakeLimit: "identity_handshake_limit",
            "initiation of an identity that had its maximum of handshakes in this second";
        ShardTunnelLimit: "shard_tunnel_limit",
            "initiation without room for a tunnel: all tunnels of the shard are in use";
        /// See [`SnapTunServer::drain`](crate::SnapTunServer::drain).
        Draining: "draining", "message that would make a tunnel while the gateway drains";
        /// See [`ReplayGuard`](crate::ReplayGuard).
        ReplayedInitiation: "replayed_initiation",
            "initiation that was accepted before, or is too old to tell";
        /// See [`ReplayGuard`](crate::ReplayGuard).
        FutureTimestamp: "future_timestamp",
            "initiation whose timestamp is too far ahead of the system clock";
        StaleInitiation: "stale_initiation", "initiation not newer than the last one of its tunnel";
        Unsolicited: "unsolicited", "handshake response or cookie reply that answers no message of the gateway";
        NoSession: "no_session", "data for a session that does not exist, or no longer";
        Replayed: "replayed", "data whose counter was seen before, or is too old to tell";
        Forged: "forged", "wrong authentication tag";
        /// On the wire it would be a keepalive, which is delivered to nobody.
        Empty: "empty", "empty packet from SCION";
        WaitingQueueFull: "waiting_queue_full",
            "no session yet, and no room for one more waiting packet";
    }
}

impl DropReason {
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

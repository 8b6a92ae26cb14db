//! Reasons for which packets are dropped.

use ana_gotatun::noise::TunnResult;
use ana_gotatun::noise::errors::WireGuardError;
use closed_enum::closed_enum;

closed_enum! {
    /// Reason for which a datagram or packet was dropped.
    pub enum DropReason {
        Malformed: "malformed", "not a SNAPtun message: wrong type, reserved bytes or length";
        /// Data from the address of a [remembered](crate::SnapTunServer::remember) client may have another reason:
        /// [`NoSession`](Self::NoSession) if it begins a handshake, [`Unauthorized`](Self::Unauthorized), or
        /// [`Draining`](Self::Draining).
        NoTunnel: "no_tunnel",
            "message other than an initiation from an address without a tunnel, or packet to such an address";
        InvalidMac: "invalid_mac",
            "wrong first message authentication code: the sender does not know the gateway's public key";
        AddressHandshakeLimit: "address_handshake_limit",
            "handshake message with a cookie, over the limit of its address";
        TotalHandshakeLimit: "total_handshake_limit",
            "initiation with a cookie, over the limit of all shards together";
        CookieReplyLimit: "cookie_reply_limit",
            "handshake message without a cookie, over the limits, from an address over its limit of cookie replies";
        /// The identity has no authorization, or lost it. If it has a tunnel at this address, the tunnel is removed.
        /// Data from an address whose tunnel was removed for this reason is reported as `Unauthorized` as well, while
        /// the shard remembers the client.
        Unauthorized: "unauthorized", "identity without authorization, or with a revoked one";
        AddressHeld: "address_held",
            "initiation from an address at which another identity has a tunnel in use";
        IdentityTunnelLimit: "identity_tunnel_limit",
            "initiation of an identity whose maximum number of tunnels is in use";
        IdentityHandshakeLimit: "identity_handshake_limit",
            "initiation of an identity over its limit of handshakes per second";
        ShardTunnelLimit: "shard_tunnel_limit",
            "initiation for a new tunnel while all tunnels of the shard are in use";
        /// See [`SnapTunServer::drain`](crate::SnapTunServer::drain).
        Draining: "draining", "message for a new tunnel while the gateway drains";
        /// See [`ReplayGuard`](crate::ReplayGuard). Most replays are recognized before any limit is checked. The
        /// timestamp of every other initiation is checked once its identity is proven: first for
        /// [`FutureTimestamp`](Self::FutureTimestamp), then for this reason.
        ReplayedInitiation: "replayed_initiation",
            "initiation that was accepted before, or is too old to be checked";
        /// See [`ReplayGuard`](crate::ReplayGuard).
        FutureTimestamp: "future_timestamp",
            "initiation whose timestamp is too far ahead of the system clock";
        /// Checked after [`ReplayedInitiation`](Self::ReplayedInitiation), and only in an existing tunnel: the
        /// initiation was not accepted before, but a later one of its client arrived first.
        StaleInitiation: "stale_initiation", "initiation not newer than the last one of its tunnel";
        Unsolicited: "unsolicited", "handshake response or cookie reply without a matching message of the gateway";
        NoSession: "no_session", "data for an unknown or expired session";
        Replayed: "replayed", "data whose counter was seen before, or is too old to be checked";
        Forged: "forged", "wrong authentication tag";
        /// On the wire it would be a keepalive, which peers do not deliver.
        Empty: "empty", "empty packet from SCION";
        WaitingQueueFull: "waiting_queue_full",
            "packet without a session, and without room to wait for one";
    }
}

impl DropReason {
    /// Returns the reason for an unexpected result of `Tunn`.
    pub(crate) fn of_result(result: &TunnResult) -> Self {
        match result {
            TunnResult::Err(error) => Self::of_error(error),
            TunnResult::Done | TunnResult::WriteToNetwork(_) | TunnResult::WriteToTunnel(_) => {
                DropReason::Unsolicited
            }
        }
    }

    /// Returns the reason for an error of the WireGuard state machine.
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
            // `ConnectionExpired` of a data packet: its counter is beyond Reject-After-Messages (WireGuard whitepaper,
            // section 6.1).
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

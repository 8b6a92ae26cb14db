//! Traffic of tunnels, for accounting.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

/// Packets in a tunnel. Handshakes, keepalives and the overhead of SNAPtun do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets from the peer that were [delivered](crate::Incoming::Delivered) to the caller.
    pub incoming_packets: u64,
    /// Their bytes, including the padding of clients.
    pub incoming_bytes: u64,
    /// Packets to the peer that were encrypted, those of the gateway itself included.
    pub outgoing_packets: u64,
    /// Their bytes.
    pub outgoing_bytes: u64,
}

/// Traffic of a tunnel while its grants had the same session data.
///
/// The records of a tunnel follow each other without a gap, so their sum is the traffic of the tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Usage<S> {
    /// Remote address of the tunnel.
    pub remote: SocketAddr,
    /// Identity of the peer.
    pub identity: [u8; 32],
    /// Session data of the grants.
    pub session_data: S,
    /// Creation of the tunnel, or time of its last change of session data. It has no meaning in another process.
    pub since: Instant,
    /// Traffic from then on.
    pub traffic: Traffic,
}

impl<S> fmt::Debug for Usage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("remote", &self.remote)
            .field("since", &self.since)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

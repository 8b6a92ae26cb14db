//! UDP paths of tunnels.

use std::net::{IpAddr, SocketAddr};

/// Both ends of a tunnel's UDP path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Socket address of the peer. It identifies the tunnel: there is one tunnel per remote address.
    pub remote: SocketAddr,
    /// Local side that the peer sends to.
    pub via: Via,
}

/// Local side of a tunnel, opaque to the shard.
///
/// The shard stores the `Via` of a tunnel's last authenticated message and returns it with every
/// [`Transmit`](crate::Transmit), so that answers leave from the address that the peer sends to. Clients drop datagrams
/// from any other address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Via {
    /// Listener of the caller on which the datagram arrived.
    pub listener: u16,
    /// Destination address of the datagram, for listeners bound to several addresses.
    pub local_ip: Option<IpAddr>,
}

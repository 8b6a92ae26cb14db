//! Where the datagrams of a tunnel come from and go to.

use std::net::{IpAddr, SocketAddr};

/// Both ends of the UDP path of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The socket address of the peer. It names the tunnel: there is one tunnel per remote address.
    pub remote: SocketAddr,
    /// The local side that the peer talks to.
    pub via: Via,
}

/// The local side of a tunnel.
///
/// The shard does not read it. It remembers the `Via` of the last authenticated packet of a tunnel and
/// hands it back with every [`Transmit`](crate::Transmit), so that answers leave from the address that
/// the peer sends to: clients drop what comes from another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Via {
    /// Which of the caller's listeners the packet came in on.
    pub listener: u16,
    /// The local address that the peer sent to, where the listener is bound to more than one.
    pub local_ip: Option<IpAddr>,
}

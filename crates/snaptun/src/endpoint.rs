//! UDP paths of tunnels.

use std::net::{IpAddr, SocketAddr};

/// Both ends of a tunnel's UDP path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Socket address of the peer. It identifies the tunnel: there is one tunnel per remote address.
    ///
    /// Addresses are compared as given, and responses report them in this form: `::ffff:192.0.2.1` is another address
    /// than `192.0.2.1`, and so is an IPv6 address with another scope or flow label. Use sockets of one family
    /// (IPV6_V6ONLY), or pass all addresses in one form.
    pub remote: SocketAddr,
    /// Local side that the peer sends to.
    pub via: Via,
}

/// Local side of a tunnel, opaque to the shard.
///
/// The shard stores the `Via` of a tunnel's last authenticated message and returns it with every
/// [`Transmit`](crate::Transmit), so that answers leave from the address that the peer sends to. Clients drop datagrams
/// from any other address. The shard does not read the fields; their meaning is the caller's. The default suffices for
/// one socket that is bound to one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Via {
    /// Listener of the caller on which the datagram arrived, for example the index of a socket.
    pub listener: u16,
    /// Destination address of the datagram, from which answers have to be sent. Needed for listeners on the unspecified
    /// address (IP_PKTINFO, IPV6_RECVPKTINFO).
    pub local_ip: Option<IpAddr>,
}

//! Host addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::IsdAs;

/// Type and length nibble of an IPv4 address: type 0, length 4.
pub(crate) const KIND_IPV4: u8 = 0b0000;
/// Type and length nibble of an IPv6 address: type 0, length 16.
pub(crate) const KIND_IPV6: u8 = 0b0011;
/// Type and length nibble of a service address: type 1, length 4.
const KIND_SERVICE: u8 = 0b0100;

/// A host address in the address header.
///
/// The common header has a nibble per address: its type (upper two bits) and its length (lower two
/// bits, in units of 4 bytes, minus one).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// An IPv4 (nibble 0) or IPv6 (nibble 3) address. IPv4-mapped addresses are not converted:
    /// `::ffff:192.0.2.1` is an IPv6 address and differs from `192.0.2.1`.
    Ip(IpAddr),
    /// A service address (nibble 4): two bytes, followed by two bytes of padding.
    Service(u16),
    /// Any other combination of type and length, which the specification does not define.
    Other {
        /// Nibble of type and length.
        kind: u8,
    },
}

/// Returns the length of a host address in bytes, from its nibble: 4, 8, 12 or 16.
#[inline]
pub(crate) const fn host_bytes(kind: u8) -> usize {
    4 * ((kind & 0b11) as usize + 1)
}

const _: () = assert!(host_bytes(KIND_IPV4) == size_of::<Ipv4Addr>());
const _: () = assert!(host_bytes(KIND_IPV6) == size_of::<Ipv6Addr>());

impl Host {
    /// Decodes a host address; `bytes` has the length [`host_bytes`] of `kind`.
    #[inline]
    pub(crate) fn from_wire(kind: u8, bytes: &[u8]) -> Self {
        match (kind, bytes) {
            (KIND_IPV4, &[a, b, c, d]) => Self::Ip(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            (KIND_SERVICE, &[high, low, _, _]) => Self::Service(u16::from_be_bytes([high, low])),
            (KIND_IPV6, bytes) => match <[u8; 16]>::try_from(bytes) {
                Ok(octets) => Self::Ip(IpAddr::V6(Ipv6Addr::from(octets))),
                Err(_) => Self::Other { kind },
            },
            _ => Self::Other { kind },
        }
    }
}

/// Returns true if an IP address denotes a single host: not multicast, limited broadcast or unspecified.
#[must_use]
pub fn is_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_multicast() && !ip.is_unspecified() && !broadcast
}

/// Address of a host: its AS and its IP address there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ScionAddress {
    /// AS of the host.
    pub isd_as: IsdAs,
    /// IP address of the host in that AS.
    pub ip: IpAddr,
}

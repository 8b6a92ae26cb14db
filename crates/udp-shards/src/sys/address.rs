//! Socket addresses in the kernel's layout.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Storage for an IPv4 or IPv6 socket address.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// Storage without an address.
    pub(super) const EMPTY: Self =
        Self::from_v6(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)).with_unspecified_family();

    /// Returns the raw form of `address` and its length in bytes.
    pub(super) fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        match address {
            SocketAddr::V4(v4) => (Self::from_v4(&v4), size_of::<libc::sockaddr_in>() as _),
            SocketAddr::V6(v6) => (Self::from_v6(&v6), size_of::<libc::sockaddr_in6>() as _),
        }
    }

    /// Returns the address, or `None` if its family is neither IPv4 nor IPv6.
    pub(super) fn get(&self) -> Option<SocketAddr> {
        // SAFETY: every variant begins with the family, and all bytes are initialised: `EMPTY`
        // initialises the largest variant completely, and the kernel writes over a prefix of it.
        let family = unsafe { self.family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: the bytes are initialised (above), and any bytes make a `sockaddr_in`.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                Some(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(v6.sin6_addr.s6_addr),
                    u16::from_be(v6.sin6_port),
                    // The flow label is not part of the identity: one address would appear as two.
                    0,
                    v6.sin6_scope_id,
                )))
            }
            _ => None,
        }
    }

    fn from_v4(address: &SocketAddrV4) -> Self {
        let mut raw = Self::EMPTY;
        raw.v4 = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: address.ip().to_bits().to_be(),
            },
            sin_zero: [0; 8],
        };
        raw
    }

    const fn from_v6(address: &SocketAddrV6) -> Self {
        Self {
            v6: libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            },
        }
    }

    const fn with_unspecified_family(mut self) -> Self {
        self.family = libc::AF_UNSPEC as libc::sa_family_t;
        self
    }
}

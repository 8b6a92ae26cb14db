//! Hosts around a router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Namespace, Veth};

/// IP version of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A router and the hosts around it, each in a namespace, each behind a link of its own.
///
/// Packets have to pass a router to be merged with those of another sender: it separates them from
/// the sockets that sent them, which veth by itself does not, and the kernel merges nothing of
/// different sockets.
#[derive(Debug)]
pub struct Network {
    router: Namespace,
    hosts: u8,
}

/// A host of a [`Network`].
#[derive(Clone, Debug)]
pub struct Host {
    /// Where it is.
    pub namespace: Namespace,
    /// Its link: `left` is the host, `right` the router.
    pub link: Veth,
    number: u8,
}

impl Network {
    /// A router without hosts.
    #[must_use]
    pub fn new() -> Self {
        let router = Namespace::new();
        router.sysctl("ipv4/ip_forward", "1");
        router.sysctl("ipv6/conf/all/forwarding", "1");
        // Forged sources come in by other links than those they belong to.
        router.sysctl("ipv4/conf/all/rp_filter", "0");
        router.sysctl("ipv4/conf/default/rp_filter", "0");
        Self { router, hosts: 0 }
    }

    /// Adds a host. Its IPv6 packets have flow label 0, as those of many systems, so that forged
    /// ones can be like them.
    pub fn add_host(&mut self) -> Host {
        self.hosts += 1;
        let number = self.hosts;
        let namespace = Namespace::new();
        namespace.sysctl("ipv6/auto_flowlabels", "0");
        let link = Veth::between(&namespace, &self.router);
        link.left.add_address(&format!("10.0.{number}.2/24"));
        link.right.add_address(&format!("10.0.{number}.1/24"));
        link.left.add_address(&format!("fd00:{number:x}::2/64"));
        link.right.add_address(&format!("fd00:{number:x}::1/64"));
        namespace.shell(&format!(
            "ip route add default via 10.0.{number}.1
             ip -6 route add default via fd00:{number:x}::1"
        ));
        Host {
            namespace,
            link,
            number,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// The host's address.
    #[must_use]
    pub fn ip(&self, version: IpVersion) -> IpAddr {
        match version {
            IpVersion::V4 => Ipv4Addr::new(10, 0, self.number, 2).into(),
            IpVersion::V6 => Ipv6Addr::new(0xfd00, self.number.into(), 0, 0, 0, 0, 0, 2).into(),
        }
    }
}

//! Network of hosts around a router.

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

/// A router and its hosts, each in a namespace, and a link from each host to the router.
///
/// The router makes it possible that packets of different senders merge: it detaches packets from their sending
/// sockets, which veth alone does not do, and the kernel merges no packets of different sockets.
#[derive(Debug)]
pub struct Network {
    router: Namespace,
    hosts: u8,
}

/// A host of a [`Network`].
#[derive(Clone, Debug)]
pub struct Host {
    /// Namespace of the host.
    pub namespace: Namespace,
    /// Link to the router: `left` is the host, `right` the router.
    pub link: Veth,
    number: u8,
}

impl Network {
    /// Creates a router without hosts.
    #[must_use]
    pub fn new() -> Self {
        let router = Namespace::new();
        router.sysctl("ipv4/ip_forward", "1");
        router.sysctl("ipv6/conf/all/forwarding", "1");
        // Packets with forged sources arrive by other links than their source address belongs to.
        router.sysctl("ipv4/conf/all/rp_filter", "0");
        router.sysctl("ipv4/conf/default/rp_filter", "0");
        Self { router, hosts: 0 }
    }

    /// Adds a host. Its IPv6 packets have flow label 0, as on many systems, so that forged packets can match them.
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
    /// Returns the address of the host.
    #[must_use]
    pub fn ip(&self, version: IpVersion) -> IpAddr {
        match version {
            IpVersion::V4 => Ipv4Addr::new(10, 0, self.number, 2).into(),
            IpVersion::V6 => Ipv6Addr::new(0xfd00, self.number.into(), 0, 0, 0, 0, 0, 2).into(),
        }
    }
}

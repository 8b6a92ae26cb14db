//! SCION packets between a client and a far host, and the router on their way.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use scion_packet::build::{PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress};

use crate::client::PATIENCE;

pub(crate) const LOCAL: &str = "1-ff00:0:110";
pub(crate) const REMOTE: &str = "2-ff00:0:220";

pub(crate) fn address(isd_as: &str, host: SocketAddr) -> ScionAddress {
    let isd_as: IsdAs = isd_as.parse().unwrap();
    ScionAddress {
        isd_as,
        ip: host.ip(),
    }
}

/// A path of one segment, which leaves the first AS by `interface`.
pub(crate) fn path_through(interface: u16) -> [Segment; 1] {
    let info_field = InfoField {
        construction_direction: true,
        ..InfoField::default()
    };
    let first = HopField {
        cons_egress: interface,
        ..HopField::default()
    };
    let last = HopField {
        cons_ingress: 1,
        ..HopField::default()
    };
    [Segment {
        info_field,
        hop_fields: vec![first, last],
    }]
}

/// A UDP packet from a client in our AS to a far host, by `interface`.
pub(crate) fn to_remote(client: SocketAddr, interface: u16) -> Vec<u8> {
    let far_host = "198.51.100.9:443".parse().unwrap();
    let builder = PacketBuilder::new(address(LOCAL, client), address(REMOTE, far_host))
        .with_path(&path_through(interface))
        .unwrap();
    let mut packet = Vec::new();
    builder
        .append_udp(client.port(), 443, b"to the other side", &mut packet)
        .unwrap();
    packet
}

/// A UDP packet from a far host to a client in our AS.
pub(crate) fn from_remote(client: SocketAddr) -> Vec<u8> {
    let far_host = "198.51.100.9:443".parse().unwrap();
    let builder = PacketBuilder::new(address(REMOTE, far_host), address(LOCAL, client))
        .with_path(&path_through(3))
        .unwrap();
    let mut packet = Vec::new();
    builder
        .append_udp(443, client.port(), b"answer", &mut packet)
        .unwrap();
    packet
}

/// A UDP packet between two hosts of our AS.
pub(crate) fn within_as(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let builder = PacketBuilder::new(address(LOCAL, from), address(LOCAL, to));
    let mut packet = Vec::new();
    builder
        .append_udp(from.port(), to.port(), b"hello, neighbour", &mut packet)
        .unwrap();
    packet
}

/// A router, by its internal address.
pub(crate) struct Router {
    pub(crate) socket: UdpSocket,
}

impl Router {
    pub(crate) fn bind() -> Self {
        Self::bind_to((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(crate) fn bind_to(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_535];
        let length = self
            .socket
            .recv(&mut buffer)
            .expect("a packet should have come");
        buffer.truncate(length);
        buffer
    }
}

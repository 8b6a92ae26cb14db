//! SCION packets between the clients of a gateway and a host in another AS, and between clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::upper_layer::{END_TO_END, HOP_BY_HOP};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress, ScionPacket};

/// The AS of the gateway and its clients: 1-ff00:0:110.
pub const LOCAL: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

/// Another AS: 2-ff00:0:220.
pub const REMOTE: IsdAs = IsdAs::from_u64(0x0002_ff00_0000_0220);

/// A host in another AS. Its IP version is independent of the tunnel's.
pub const FAR_HOST: ScionAddress = ScionAddress {
    isd_as: REMOTE,
    ip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)),
};

/// UDP port of [`FAR_HOST`].
pub const FAR_PORT: u16 = 443;

/// Length in bytes of an extension header that [`with_extensions`] adds.
const EXTENSION_BYTES: usize = 8;

/// Extension headers of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extensions {
    /// None.
    None,
    /// The hop-by-hop options header.
    HopByHop,
    /// The end-to-end options header.
    EndToEnd,
    /// Both, in the mandatory order.
    Both,
}

impl Extensions {
    /// All variants.
    pub const ALL: [Self; 4] = [Self::None, Self::HopByHop, Self::EndToEnd, Self::Both];

    const fn next_headers(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::HopByHop => &[HOP_BY_HOP],
            Self::EndToEnd => &[END_TO_END],
            Self::Both => &[HOP_BY_HOP, END_TO_END],
        }
    }
}

/// Returns the SCION address of a host in the AS of the gateway.
#[must_use]
pub const fn local(ip: IpAddr) -> ScionAddress {
    ScionAddress { isd_as: LOCAL, ip }
}

/// Returns the packet that a method of [`PacketBuilder`] writes.
pub fn packet(write: impl FnOnce(&mut Vec<u8>) -> Result<(), BuildError>) -> Vec<u8> {
    let mut packet = Vec::new();
    write(&mut packet).expect("the packet can be built");
    packet
}

/// Returns a builder of packets from `source` to [`FAR_HOST`] over a path that leaves the AS by `interface`.
#[must_use]
pub fn leaving_by(interface: u16, source: ScionAddress) -> PacketBuilder {
    let first = HopField {
        cons_egress: interface,
        expiry: u8::MAX,
        mac: [1, 2, 3, 4, 5, 6],
        ..HopField::default()
    };
    over_one_segment(source, FAR_HOST, true, first)
}

/// Like [`leaving_by`], on a segment traversed against its construction direction: the packet leaves by the interface
/// at which the beacon arrived.
#[must_use]
pub fn leaving_upwards_by(interface: u16, source: ScionAddress) -> PacketBuilder {
    let first = HopField {
        cons_ingress: interface,
        expiry: u8::MAX,
        mac: [6, 5, 4, 3, 2, 1],
        ..HopField::default()
    };
    over_one_segment(source, FAR_HOST, false, first)
}

/// Returns a builder of packets from [`FAR_HOST`] to `destination` over a path that leaves the remote AS by interface
/// 3.
#[must_use]
pub fn arriving_at(destination: ScionAddress) -> PacketBuilder {
    let first = HopField {
        cons_egress: 3,
        ..HopField::default()
    };
    over_one_segment(FAR_HOST, destination, true, first)
}

fn over_one_segment(
    source: ScionAddress,
    destination: ScionAddress,
    construction_direction: bool,
    first: HopField,
) -> PacketBuilder {
    let last = HopField {
        cons_ingress: 1,
        ..HopField::default()
    };
    let segment = Segment {
        info_field: InfoField {
            construction_direction,
            timestamp: 1_750_000_000,
            ..InfoField::default()
        },
        hop_fields: vec![first, last],
    };
    PacketBuilder::new(source, destination)
        .with_path(&[segment])
        .expect("a path of two hops fits into the header")
}

/// Returns a UDP packet from a client to [`FAR_HOST`], by `interface`.
#[must_use]
pub fn to_remote(client: SocketAddr, interface: u16) -> Vec<u8> {
    let builder = leaving_by(interface, local(client.ip()));
    packet(|out| builder.append_udp(client.port(), FAR_PORT, b"to the other side", out))
}

/// Returns a UDP packet from [`FAR_HOST`] to a client.
#[must_use]
pub fn from_remote(client: SocketAddr) -> Vec<u8> {
    let builder = arriving_at(local(client.ip()));
    packet(|out| builder.append_udp(FAR_PORT, client.port(), b"answer", out))
}

/// Returns a UDP packet between two hosts in the AS of the gateway.
#[must_use]
pub fn within_as(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let builder = PacketBuilder::new(local(from.ip()), local(to.ip()));
    packet(|out| builder.append_udp(from.port(), to.port(), b"hello, neighbour", out))
}

/// Returns `bare_packet`, a packet from `builder`, with extension headers of 8 bytes of padding.
///
/// # Panics
///
/// If `bare_packet` is not a SCION packet or becomes too long.
#[must_use]
pub fn with_extensions(
    builder: &PacketBuilder,
    bare_packet: &[u8],
    extensions: Extensions,
) -> Vec<u8> {
    let view = ScionPacket::parse(bare_packet).expect("a SCION packet");
    let mut next_header = view.next_header();
    let mut payload = view.payload().to_vec();
    for &extension in extensions.next_headers().iter().rev() {
        let mut header = [0; EXTENSION_BYTES];
        header[0] = next_header;
        // ExtLen, in units of 4 bytes, minus 1; then Pad1 options, which are 0.
        header[1] = (EXTENSION_BYTES / 4 - 1) as u8;
        payload.splice(0..0, header);
        next_header = extension;
    }
    packet(|out| builder.append_payload(next_header, &payload, out))
}

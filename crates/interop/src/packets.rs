//! SCION packets from and to clients.

use std::net::{IpAddr, Ipv4Addr};

use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::upper_layer::{END_TO_END, HOP_BY_HOP};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress, ScionPacket};

/// The AS of the gateway and its clients: 1-ff00:0:110.
pub const HOME: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

/// Another AS: 1-ff00:0:111.
pub const ELSEWHERE: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0111);

/// A host in another AS. Its IP version has nothing to do with that of the tunnel.
pub const FAR_HOST: ScionAddress = ScionAddress {
    isd_as: ELSEWHERE,
    ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
};

/// The port that [`FAR_HOST`] talks from.
pub const FAR_PORT: u16 = 443;

/// Bytes of an extension header that [`with_extensions`] adds.
const EXTENSION_BYTES: usize = 8;

/// Which extension headers a packet has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extensions {
    /// None.
    None,
    /// The hop-by-hop options header.
    HopByHop,
    /// The end-to-end options header.
    EndToEnd,
    /// Both, in the order in which they have to be.
    Both,
}

impl Extensions {
    /// All there can be.
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

/// A host in the AS of the gateway.
#[must_use]
pub const fn at_home(ip: IpAddr) -> ScionAddress {
    ScionAddress { isd_as: HOME, ip }
}

/// The packet that a method of [`PacketBuilder`] writes.
///
/// # Panics
///
/// When it cannot be written.
pub fn packet(write: impl FnOnce(&mut Vec<u8>) -> Result<(), BuildError>) -> Vec<u8> {
    let mut packet = Vec::new();
    write(&mut packet).expect("a packet that can be written");
    packet
}

/// Packets from `source` to [`FAR_HOST`] over a path that leaves the AS by `interface`.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn leaving_by(interface: u16, source: ScionAddress) -> PacketBuilder {
    let hop_field = HopField {
        cons_egress: interface,
        expiry: u8::MAX,
        mac: [1, 2, 3, 4, 5, 6],
        ..HopField::default()
    };
    from_home_to_far_host(source, true, hop_field)
}

/// Like [`leaving_by`], on a segment that is travelled against the direction in which it was made:
/// the packet leaves by the interface at which the beacon came in.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn leaving_upwards_by(interface: u16, source: ScionAddress) -> PacketBuilder {
    let hop_field = HopField {
        cons_ingress: interface,
        expiry: u8::MAX,
        mac: [6, 5, 4, 3, 2, 1],
        ..HopField::default()
    };
    from_home_to_far_host(source, false, hop_field)
}

fn from_home_to_far_host(
    source: ScionAddress,
    construction_direction: bool,
    hop_field: HopField,
) -> PacketBuilder {
    let segment = Segment {
        info_field: InfoField {
            construction_direction,
            timestamp: 1_750_000_000,
            ..InfoField::default()
        },
        hop_fields: vec![hop_field],
    };
    PacketBuilder::new(source, FAR_HOST)
        .with_path(&[segment])
        .expect("one hop fits into a header")
}

/// `packet`, which `builder` made, with extension headers of 8 bytes that hold padding.
///
/// # Panics
///
/// When `packet` is no SCION packet or becomes too long.
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
        // ExtLen, in units of 4 bytes, less one; then Pad1 options, which are 0.
        header[1] = (EXTENSION_BYTES / 4 - 1) as u8;
        payload.splice(0..0, header);
        next_header = extension;
    }
    packet(|out| builder.append_payload(next_header, &payload, out))
}

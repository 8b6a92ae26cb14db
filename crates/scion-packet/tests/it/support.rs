//! Packets for the tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use scion_packet::build::{PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, ScionAddress, ScionPacket};
use sciparse::core::encode::WireEncode;
use sciparse::packet::classify::ClassifiedPacket;
use sciparse::packet::classify::ptest::ArbitraryClassifiedPacketParams;

pub(crate) const CLIENT_PORT: u16 = 40_000;
pub(crate) const PEER_PORT: u16 = 50_000;

pub(crate) fn address(isd_as: &str, ip: &str) -> ScionAddress {
    ScionAddress {
        isd_as: isd_as.parse().unwrap(),
        ip: ip.parse().unwrap(),
    }
}

/// A host behind a tunnel.
pub(crate) fn client() -> ScionAddress {
    address("1-ff00:0:110", "192.0.2.1")
}

/// A host in another AS.
pub(crate) fn peer() -> ScionAddress {
    address("2-ff00:0:222", "2001:db8::2")
}

/// Builder of packets from the client.
pub(crate) fn from_client() -> PacketBuilder {
    PacketBuilder::new(client(), peer())
}

/// Builder of packets to the client.
pub(crate) fn to_client() -> PacketBuilder {
    PacketBuilder::new(peer(), client())
}

pub(crate) fn udp(builder: &PacketBuilder, source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    builder
        .append_udp(source_port, destination_port, b"payload", &mut packet)
        .unwrap();
    packet
}

pub(crate) fn echo_request(builder: &PacketBuilder, identifier: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    builder
        .append_echo_request(identifier, 7, b"ping", &mut packet)
        .unwrap();
    packet
}

pub(crate) fn echo_reply(builder: &PacketBuilder, identifier: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    builder
        .append_echo_reply(identifier, 7, b"pong", &mut packet)
        .unwrap();
    packet
}

pub(crate) fn payload(builder: &PacketBuilder, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    builder
        .append_payload(next_header, payload, &mut packet)
        .unwrap();
    packet
}

/// Returns an SCMP message without a checksum: type, code, then `rest` from byte 4 on.
pub(crate) fn scmp(builder: &PacketBuilder, message_type: u8, rest: &[u8]) -> Vec<u8> {
    payload(builder, 202, &[&[message_type, 0, 0, 0], rest].concat())
}

/// Returns a traceroute request (130) or reply (131).
pub(crate) fn traceroute(builder: &PacketBuilder, message_type: u8, identifier: u16) -> Vec<u8> {
    let [high, low] = identifier.to_be_bytes();
    scmp(
        builder,
        message_type,
        &[&[high, low][..], &[0; 18]].concat(),
    )
}

pub(crate) fn tcp(builder: &PacketBuilder, source_port: u16, destination_port: u16) -> Vec<u8> {
    let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
    payload(builder, 6, &[&ports[..], &[0; 16]].concat())
}

/// Inserts extension headers before the upper layer, given as NextHdr value and ExtLen.
pub(crate) fn with_extensions(packet: &[u8], extensions: &[(u8, u8)]) -> Vec<u8> {
    let header_len = ScionPacket::parse(packet).unwrap().header_len();
    let (header, upper) = packet.split_at(header_len);
    let mut next_header = header[4];
    let mut rest = upper.to_vec();
    for &(kind, ext_len) in extensions.iter().rev() {
        let mut extension = vec![0; 4 * (usize::from(ext_len) + 1)];
        extension[0] = next_header;
        extension[1] = ext_len;
        extension.append(&mut rest);
        rest = extension;
        next_header = kind;
    }
    let mut packet = [header, &rest].concat();
    packet[4] = next_header;
    packet[6..8].copy_from_slice(&(rest.len() as u16).to_be_bytes());
    packet
}

/// Returns a segment whose hop fields have the given (ConsIngress, ConsEgress).
pub(crate) fn segment(construction_direction: bool, interfaces: &[(u16, u16)]) -> Segment {
    Segment {
        info_field: InfoField {
            construction_direction,
            segment_id: 0x1234,
            timestamp: 1_700_000_000,
            ..InfoField::default()
        },
        hop_fields: interfaces
            .iter()
            .map(|&(cons_ingress, cons_egress)| HopField {
                cons_ingress,
                cons_egress,
                expiry: 63,
                mac: [1, 2, 3, 4, 5, 6],
                ..HopField::default()
            })
            .collect(),
    }
}

/// Returns an up segment (against construction direction), a core segment and a down segment.
pub(crate) fn three_segments() -> [Segment; 3] {
    [
        segment(false, &[(11, 0), (21, 22), (0, 31)]),
        segment(false, &[(41, 0), (0, 51)]),
        segment(true, &[(0, 61), (71, 0)]),
    ]
}

/// Returns the offset of the path meta header.
pub(crate) fn path_offset(packet: &[u8]) -> usize {
    ScionPacket::parse_quote(packet).unwrap().path_offset()
}

/// Sets CurrINF and CurrHF.
pub(crate) fn set_position(packet: &mut [u8], info_field: u8, hop_field: u8) {
    let offset = path_offset(packet);
    packet[offset] = info_field << 6 | hop_field;
}

/// Generates well-formed packets of all kinds, encoded by sciparse.
pub(crate) fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let scmp_heavy = ArbitraryClassifiedPacketParams {
        scmp: 3,
        udp: 2,
        ..Default::default()
    };
    any_with::<ClassifiedPacket>(scmp_heavy)
        .prop_filter_map("sciparse cannot encode it", |packet| {
            packet.try_encode_to_vec().ok()
        })
}

/// Damage to a packet.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    /// Flips a bit of the first bytes, which hold the fields.
    FlipHeader(Index, u8),
    /// Flips a bit anywhere.
    Flip(Index, u8),
    /// Sets NextHdr to a known protocol.
    NextHeader(u8),
    /// Removes the end.
    Truncate(Index),
    /// Appends bytes.
    Pad(Vec<u8>),
}

/// Covers the common header, both addresses and the start of the path.
const FIELD_BYTES: usize = 72;

impl Mutation {
    pub(crate) fn apply(&self, packet: &mut Vec<u8>) {
        let length = packet.len();
        match self {
            _ if length < 5 => {}
            Self::FlipHeader(index, bit) => {
                packet[index.index(length.min(FIELD_BYTES))] ^= 1 << bit;
            }
            Self::Flip(index, bit) => packet[index.index(length)] ^= 1 << bit,
            Self::NextHeader(next_header) => packet[4] = *next_header,
            Self::Truncate(index) => packet.truncate(index.index(length)),
            Self::Pad(bytes) => packet.extend_from_slice(bytes),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), 0..8u8).prop_map(|(index, bit)| Mutation::FlipHeader(index, bit)),
        2 => (any::<Index>(), 0..8u8).prop_map(|(index, bit)| Mutation::Flip(index, bit)),
        1 => select(&[6, 17, 200, 201, 202][..]).prop_map(Mutation::NextHeader),
        1 => any::<Index>().prop_map(Mutation::Truncate),
        1 => vec(any::<u8>(), 1..32).prop_map(Mutation::Pad),
    ]
}

fn with_mutations(packets: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (packets, vec(mutation(), 0..4)).prop_map(|(mut packet, mutations)| {
        for mutation in mutations {
            mutation.apply(&mut packet);
        }
        packet
    })
}

/// Generates SCMP errors that quote a packet, as far as it fits: those of sciparse quote random bytes.
fn quoting() -> impl Strategy<Value = Vec<u8>> {
    let types = select(&[(1, 4), (2, 4), (4, 4), (5, 16), (6, 24)][..]);
    (types, with_mutations(well_formed())).prop_map(|((message_type, fields), mut quote)| {
        quote.truncate(1100);
        scmp(
            &to_client(),
            message_type,
            &[&vec![0; fields][..], &quote].concat(),
        )
    })
}

/// Generates packets that are slightly damaged, or still well-formed.
pub(crate) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    with_mutations(prop_oneof![2 => well_formed().boxed(), 1 => quoting().boxed()])
}

//! Built packets are identical to those of sciparse.

use proptest::collection::vec;
use proptest::prelude::*;
use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress, ScionPacket};

use crate::oracle::reencoded;
use crate::support::{CLIENT_PORT, PEER_PORT, from_client, segment, udp};

fn any_address() -> impl Strategy<Value = ScionAddress> {
    (any::<u64>(), any::<std::net::IpAddr>()).prop_map(|(isd_as, ip)| ScionAddress {
        isd_as: IsdAs::from_u64(isd_as),
        ip,
    })
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let info_field = any::<(bool, bool, u16, u32)>().prop_map(
        |(peering, construction_direction, segment_id, timestamp)| InfoField {
            peering,
            construction_direction,
            segment_id,
            timestamp,
        },
    );
    let hop_field = (0..4_u8, any::<(u8, u16, u16, [u8; 6])>()).prop_map(
        |(flags, (expiry, cons_ingress, cons_egress, mac))| HopField {
            flags,
            expiry,
            cons_ingress,
            cons_egress,
            mac,
        },
    );
    (info_field, vec(hop_field, 1..22)).prop_map(|(info_field, hop_fields)| Segment {
        info_field,
        hop_fields,
    })
}

fn any_builder() -> impl Strategy<Value = PacketBuilder> {
    let addresses = (any_address(), any_address());
    (addresses, proptest::option::of(vec(any_segment(), 1..4))).prop_map(
        |((source, destination), path)| {
            let builder = PacketBuilder::new(source, destination);
            match path {
                Some(segments) => builder.with_path(&segments).unwrap(),
                None => builder,
            }
        },
    )
}

proptest! {
    #[test]
    fn sciparse_writes_the_same_bytes(
        builder in any_builder(),
        [first, second] in any::<[u16; 2]>(),
        data in vec(any::<u8>(), 0..100),
    ) {
        let mut packet = Vec::new();
        builder.append_udp(first, second, &data, &mut packet).unwrap();
        let mut theirs = reencoded(&packet).unwrap();
        // sciparse does not replace a checksum of 0, which means "no checksum" (RFC 768).
        let checksum = ScionPacket::parse(&packet).unwrap().header_len() + 6;
        if theirs[checksum..checksum + 2] == [0, 0] {
            theirs[checksum..checksum + 2].copy_from_slice(&[0xff, 0xff]);
        }
        prop_assert_eq!(&packet, &theirs);

        packet.clear();
        builder.append_echo_request(first, second, &data, &mut packet).unwrap();
        prop_assert_eq!(&reencoded(&packet).unwrap(), &packet);

        packet.clear();
        builder.append_echo_reply(first, second, &data, &mut packet).unwrap();
        prop_assert_eq!(&reencoded(&packet).unwrap(), &packet);
    }
}

#[test]
fn a_udp_checksum_of_0_is_written_as_all_ones() {
    // Exactly one value of the payload word makes the sum 0xffff.
    let all_ones = (0..=u16::MAX).filter(|word| {
        let mut packet = Vec::new();
        from_client()
            .append_udp(1, 2, &word.to_be_bytes(), &mut packet)
            .unwrap();
        assert_ne!(packet[54..56], [0, 0]);
        packet[54..56] == [0xff, 0xff]
    });
    assert_eq!(all_ones.count(), 1);
}

#[test]
fn packets_are_appended_to_the_buffer() {
    let mut out = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    let first = out.clone();
    from_client()
        .append_udp(CLIENT_PORT, PEER_PORT, b"payload", &mut out)
        .unwrap();
    assert_eq!(out, [&first[..], &first].concat());
}

#[test]
fn a_payload_longer_than_its_length_field_is_refused() {
    let builder = from_client();
    let mut out = Vec::new();
    let longest = vec![0; 0xffff];
    assert_eq!(
        builder.append_payload(253, &[0; 0x1_0000], &mut out),
        Err(BuildError::PayloadTooLong)
    );
    assert_eq!(
        builder.append_udp(1, 2, &longest[7..], &mut out),
        Err(BuildError::PayloadTooLong)
    );
    assert_eq!(
        builder.append_echo_request(1, 2, &longest[7..], &mut out),
        Err(BuildError::PayloadTooLong)
    );
    assert!(out.is_empty());
    builder.append_payload(253, &longest, &mut out).unwrap();
    builder.append_udp(1, 2, &longest[8..], &mut out).unwrap();
    builder
        .append_echo_reply(1, 2, &longest[8..], &mut out)
        .unwrap();
}

#[test]
fn a_path_that_does_not_fit_a_header_is_refused() {
    let hops = |count| segment(true, &vec![(1, 2); count]);
    let with_path = |segments: &[Segment]| from_client().with_path(segments).map(|_| ());
    for segments in [
        &[hops(0)][..],
        &[hops(2), hops(0)],
        &[hops(64)],
        &[hops(32), hops(33)],
        &[hops(2), hops(2), hops(2), hops(2)],
    ] {
        assert_eq!(with_path(segments), Err(BuildError::InvalidPath));
    }
    for segments in [
        &[][..],
        &[hops(63)],
        &[hops(32), hops(32)],
        &[hops(1), hops(1), hops(62)],
    ] {
        assert_eq!(with_path(segments), Ok(()));
    }
}

//! The view: accepted bytes, and the fields read from them.

use scion_packet::{Host, MalformedPacket, Path, ScionPacket};

use crate::support::{
    CLIENT_PORT, PEER_PORT, from_client, payload, peer, segment, set_position, three_segments, udp,
    with_extensions,
};

#[test]
fn fields_are_at_the_offsets_of_the_specification() {
    let bytes = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    let packet = ScionPacket::parse(&bytes).unwrap();

    assert_eq!(packet.next_header(), 17);
    assert_eq!(packet.header_len(), 12 + 16 + 16 + 4);
    assert_eq!(packet.payload_len(), 8 + 7);
    assert_eq!(packet.total_len(), bytes.len());
    assert_eq!(packet.path_type(), 0);
    assert_eq!(packet.dst_isd_as(), "2-ff00:0:222".parse().unwrap());
    assert_eq!(packet.src_isd_as(), "1-ff00:0:110".parse().unwrap());
    assert_eq!(packet.dst_host(), Host::Ip("2001:db8::2".parse().unwrap()));
    assert_eq!(packet.src_host(), Host::Ip("192.0.2.1".parse().unwrap()));
    assert_eq!(packet.src_host_offset(), 44);
    assert_eq!(packet.path_offset(), 48);
    assert!(matches!(packet.path(), Path::Empty));
    assert_eq!(packet.payload(), &bytes[48..]);
}

#[test]
fn the_view_excludes_trailing_bytes() {
    let packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for padding in [0, 1, 15, 1000] {
        let padded = [&packet[..], &vec![0xff; padding]].concat();
        let view = ScionPacket::parse(&padded).unwrap();
        assert_eq!(view.as_bytes(), packet);
        assert_eq!(view.total_len(), packet.len());
    }
}

#[test]
fn a_packet_truncated_anywhere_is_refused() {
    let packet = udp(
        &from_client().with_path(&three_segments()).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    );
    let header_len = ScionPacket::parse(&packet).unwrap().header_len();
    for end in 0..header_len {
        assert_eq!(
            ScionPacket::parse(&packet[..end]).unwrap_err(),
            MalformedPacket::TruncatedHeader
        );
    }
    for end in header_len..packet.len() {
        assert_eq!(
            ScionPacket::parse(&packet[..end]).unwrap_err(),
            MalformedPacket::TruncatedPayload
        );
    }
}

#[test]
fn a_quote_may_be_truncated_in_its_payload_but_not_in_its_header() {
    let packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    assert_eq!(
        ScionPacket::parse_quote(&packet[..47]).unwrap_err(),
        MalformedPacket::TruncatedHeader
    );
    let quote = ScionPacket::parse_quote(&packet[..50]).unwrap();
    assert_eq!(quote.payload(), &packet[48..50]);
    assert_eq!(quote.payload_len(), 15);
    assert_eq!(quote.total_len(), 50);
}

#[test]
fn versions_other_than_0_are_refused() {
    let mut packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for version in 1..16 {
        packet[0] = version << 4;
        assert_eq!(
            ScionPacket::parse(&packet).unwrap_err(),
            MalformedPacket::UnsupportedVersion
        );
    }
}

#[test]
fn a_header_length_that_does_not_match_the_path_is_refused() {
    let mut packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for header_len in (0..48).step_by(4).chain([52]) {
        packet[5] = header_len / 4;
        assert_eq!(
            ScionPacket::parse(&packet).unwrap_err(),
            MalformedPacket::HeaderLength
        );
    }
}

#[test]
fn a_path_with_an_empty_segment_before_another_is_refused() {
    let packet = udp(
        &from_client().with_path(&three_segments()).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    );
    // The segments have 3, 2 and 2 hop fields. Each case keeps 7 hop fields in total, and removes the
    // info fields of the empty segments from the header.
    for (lengths, missing) in [
        ([0, 4, 3], 1),
        ([4, 0, 3], 1),
        ([0, 0, 7], 2),
        ([0, 7, 0], 2),
    ] {
        let mut packet = packet.clone();
        let [first, second, third]: [u32; 3] = lengths;
        let meta = first << 12 | second << 6 | third;
        packet[48..52].copy_from_slice(&meta.to_be_bytes());
        packet[5] -= 2 * missing;
        packet.drain(52..52 + 8 * usize::from(missing));
        assert_eq!(
            ScionPacket::parse(&packet).unwrap_err(),
            MalformedPacket::HeaderLength
        );
    }
}

#[test]
fn a_path_with_more_than_64_hop_fields_is_refused() {
    let hops = |count| segment(true, &vec![(1, 2); count]);
    let longest = from_client().with_path(&[hops(32), hops(32)]).unwrap();
    let mut packet = udp(&longest, CLIENT_PORT, PEER_PORT);
    assert!(ScionPacket::parse(&packet).is_ok());
    // One more hop field of 12 bytes in the second segment.
    packet[48..52].copy_from_slice(&(32_u32 << 12 | 33 << 6).to_be_bytes());
    packet[5] += 3;
    packet.splice(52..52, [0; 12]);
    assert_eq!(
        ScionPacket::parse(&packet).unwrap_err(),
        MalformedPacket::HeaderLength
    );
}

#[test]
fn info_and_hop_fields_are_read_as_they_were_written() {
    let segments = three_segments();
    let packet = udp(
        &from_client().with_path(&segments).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    );
    let Path::Standard(path) = ScionPacket::parse(&packet).unwrap().path() else {
        panic!("the path is a standard path")
    };
    assert_eq!(path.segment_lengths(), [3, 2, 2]);
    assert_eq!((path.info_field_count(), path.hop_field_count()), (3, 7));
    assert_eq!(
        (path.current_info_field(), path.current_hop_field()),
        (0, 0)
    );
    let hop_fields = segments.iter().flat_map(|segment| &segment.hop_fields);
    for (index, hop_field) in hop_fields.enumerate() {
        assert_eq!(path.hop_field(index), Some(*hop_field));
    }
    for (index, segment) in segments.iter().enumerate() {
        assert_eq!(path.info_field(index), Some(segment.info_field));
    }
    assert_eq!(path.hop_field(7), None);
    assert_eq!(path.info_field(3), None);
}

#[test]
fn a_path_is_at_its_end_only_at_the_last_hop_of_the_last_segment() {
    let mut packet = udp(
        &from_client().with_path(&three_segments()).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    );
    for (info_field, hop_field, expected) in [
        (0, 0, false),
        (2, 5, false),
        (2, 6, true),
        (2, 7, false),
        (1, 6, false),
        (3, 63, false),
    ] {
        set_position(&mut packet, info_field, hop_field);
        let Path::Standard(path) = ScionPacket::parse(&packet).unwrap().path() else {
            panic!("the path is a standard path")
        };
        assert_eq!(path.is_at_end(), expected, "at {info_field}, {hop_field}");
    }
}

#[test]
fn service_addresses_and_unknown_kinds_of_host_are_not_ip_addresses() {
    let mut packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    // Type 1, length 16; then type 1, length 4.
    packet[9] = 0b0111_0100;
    let view = ScionPacket::parse(&packet).unwrap();
    assert_eq!(view.dst_host(), Host::Other { kind: 0b0111 });
    assert_eq!(view.src_host(), Host::Service(0xc000));
}

#[test]
fn an_ipv4_mapped_address_stays_an_ipv6_address() {
    let mut builder_address = peer();
    builder_address.ip = "::ffff:192.0.2.1".parse().unwrap();
    let builder = scion_packet::build::PacketBuilder::new(builder_address, peer());
    let packet = udp(&builder, CLIENT_PORT, PEER_PORT);
    let host = ScionPacket::parse(&packet).unwrap().src_host();
    assert_eq!(host, Host::Ip(builder_address.ip));
    assert_ne!(host, Host::Ip("192.0.2.1".parse().unwrap()));
}

#[test]
fn the_upper_layer_follows_the_extension_headers() {
    let plain = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for extensions in [&[][..], &[(200, 0)], &[(201, 5)], &[(200, 255), (201, 2)]] {
        let packet = with_extensions(&plain, extensions);
        let upper = ScionPacket::parse(&packet).unwrap().upper_layer().unwrap();
        assert_eq!(upper.protocol, 17);
        assert_eq!(upper.bytes, &plain[48..]);
        assert_eq!(&packet[upper.offset..], upper.bytes);
    }
}

#[test]
fn repeated_or_misordered_extension_headers_are_malformed() {
    let plain = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for extensions in [
        &[(200, 0), (200, 0)][..],
        &[(201, 0), (201, 0)],
        &[(201, 0), (200, 0)],
        &[(200, 0), (201, 0), (201, 0)],
        &[(200, 0), (201, 0), (200, 0)],
    ] {
        let packet = with_extensions(&plain, extensions);
        assert!(
            ScionPacket::parse(&packet).unwrap().upper_layer().is_err(),
            "{extensions:?}"
        );
    }
}

#[test]
fn truncated_extension_headers_are_malformed() {
    for bytes in [
        &[][..],
        &[17],
        &[17, 0],
        &[17, 0, 0],
        &[17, 1, 0, 0, 0, 0, 0],
    ] {
        for next_header in [200, 201] {
            let packet = payload(&from_client(), next_header, bytes);
            assert!(
                ScionPacket::parse(&packet).unwrap().upper_layer().is_err(),
                "{bytes:?}"
            );
        }
    }
}

//! Agreement with sciparse.

use std::net::SocketAddr;

use proptest::prelude::*;
use scion_packet::{ScionPacket, delivery_port};
use sciparse::checksum::ChecksumDigest;
use sciparse::core::convert::TryToModel;
use sciparse::core::encode::WireEncode;
use sciparse::core::view::View;
use sciparse::packet::view::ScionRawPacketView;
use sciparse::payload::ProtocolNumber;

use crate::support::{CLIENT_PORT, client, mutated, well_formed};
use testkit::oracle::agreement::{
    PortDifference, assert_same_policy, assert_same_port, assert_same_quote, assert_same_view,
    has_forbidden_path, port_difference, sciparse_view, tunnels,
};

/// Decodes a UDP or SCMP packet with sciparse and encodes it again, with its checksum.
///
/// The checksum is sciparse's digest over the pseudo header and the message, as in the specification.
/// The encoder of sciparse 0.8.6 covers the pseudo header only: it passes the message to
/// `with_pseudoheader`, which adds its length and not its bytes.
pub(crate) fn reencoded(packet: &[u8]) -> Option<Vec<u8>> {
    let (view, _) = ScionRawPacketView::try_from_slice(packet).ok()?;
    let model = view.try_to_model().ok()?;
    let header = model.header.clone();
    let checksum_offset = match header.common.next_header {
        ProtocolNumber::Udp => 6,
        ProtocolNumber::Scmp => 2,
        _ => return None,
    };
    let mut encoded = model.try_classify().ok()?.try_encode_to_vec().ok()?;
    let (_, message) = encoded.split_at_mut(header.required_size());
    message[checksum_offset..checksum_offset + 2].fill(0);
    let protocol = header.common.next_header.to_u8();
    let checksum = ChecksumDigest::with_pseudoheader(&header.address, protocol, message)
        .add_slice(message)
        .checksum();
    message[checksum_offset..checksum_offset + 2].copy_from_slice(&checksum.to_be_bytes());
    Some(encoded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn mutated_packets_get_the_same_verdict_and_have_the_same_fields(bytes in mutated()) {
        assert_same_view(&bytes);
    }

    #[test]
    fn mutated_packets_go_to_the_same_port(bytes in mutated()) {
        assert_same_port(&bytes);
    }

    #[test]
    fn mutated_packets_get_the_same_policy_verdict(bytes in mutated()) {
        for remote in tunnels(&bytes) {
            assert_same_policy(&bytes, remote);
            assert_same_quote(&bytes, remote);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn well_formed_packets_are_accepted(bytes in well_formed()) {
        prop_assert!(ScionPacket::parse(&bytes).is_ok());
        assert_same_view(&bytes);
        assert_same_port(&bytes);
        for remote in tunnels(&bytes) {
            assert_same_policy(&bytes, remote);
            assert_same_quote(&bytes, remote);
        }
    }

    #[test]
    fn isd_as_numbers_have_the_text_form_of_sciparse(number in any::<u64>()) {
        let theirs = sciparse::identifier::isd_asn::IsdAsn::from_u64(number);
        let ours = scion_packet::IsdAs::from_u64(number);
        prop_assert_eq!(ours.to_string(), theirs.to_string());
        prop_assert_eq!(theirs.to_string().parse(), Ok(ours));
    }
}

/// The generators rarely produce these packets.
#[test]
fn known_differences_from_sciparse_are_classified() {
    use crate::support::{
        PEER_PORT, echo_request, from_client, payload, scmp, segment, tcp, three_segments,
        to_client, udp, with_extensions,
    };
    let quoted = |quote: &[u8]| scmp(&to_client(), 1, &[&[0; 4][..], quote].concat());
    let sent = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for (packet, difference) in [
        (
            with_extensions(&udp(&to_client(), PEER_PORT, CLIENT_PORT), &[(200, 0)]),
            PortDifference::Extension,
        ),
        (
            tcp(&to_client(), PEER_PORT, CLIENT_PORT),
            PortDifference::Tcp,
        ),
        (
            payload(
                &to_client(),
                17,
                &[&[0, 0][..], &CLIENT_PORT.to_be_bytes(), &[0; 4]].concat(),
            ),
            PortDifference::UdpLength,
        ),
        (
            quoted(&echo_request(&from_client(), CLIENT_PORT)),
            PortDifference::Quote,
        ),
        (
            quoted(&with_extensions(&sent, &[(201, 0)])),
            PortDifference::Quote,
        ),
        (quoted(&sent[..50]), PortDifference::Quote),
    ] {
        let view = ScionPacket::parse(&packet).unwrap();
        assert_eq!(delivery_port(&view), Ok(CLIENT_PORT));
        assert_eq!(port_difference(&view), Some(difference));
        assert_same_port(&packet);
    }

    let mut hole = udp(
        &from_client().with_path(&three_segments()).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    );
    hole[48..52].copy_from_slice(&(4_u32 << 12 | 3).to_be_bytes());
    hole[5] -= 2;
    hole.drain(52..60);
    let longest =
        from_client().with_path(&[segment(true, &[(1, 2); 32]), segment(true, &[(1, 2); 32])]);
    let mut too_long = udp(&longest.unwrap(), CLIENT_PORT, PEER_PORT);
    too_long[48..52].copy_from_slice(&(32_u32 << 12 | 33 << 6).to_be_bytes());
    too_long[5] += 3;
    too_long.splice(52..52, [0; 12]);
    for forbidden in [hole, too_long] {
        assert!(has_forbidden_path(sciparse_view(&forbidden).unwrap()));
        assert_same_view(&forbidden);
        assert_same_policy(&forbidden, SocketAddr::new(client().ip, CLIENT_PORT));
        assert_same_port(&quoted(&forbidden));
    }
}

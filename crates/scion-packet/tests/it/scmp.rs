//! SCMP errors: complete packets that clients and routers accept.

use proptest::prelude::*;
use scion_packet::build::PacketBuilder;
use scion_packet::scmp::{MAX_ERROR_PACKET_BYTES, NoAnswer, ProblemCode, UnreachableCode};
use scion_packet::{Host, Path, ScionPacket, ScmpError, delivery_port};
use sciparse::core::view::View;
use sciparse::dataplane_path::view::ScionDpPathViewExt;
use sciparse::packet::view::ScionRawPacketView;
use sciparse::payload::scmp::types::{ScmpDestinationUnreachableCode, ScmpParameterProblemCode};
use sciparse::payload::scmp::view::ScmpMessageView;

use crate::oracle::reencoded;
use crate::support::{
    CLIENT_PORT, PEER_PORT, address, client, echo_reply, echo_request, from_client, payload, peer,
    scmp, set_position, three_segments, to_client, udp, well_formed, with_extensions,
};

const TOO_BIG: ScmpError = ScmpError::PacketTooBig { mtu: 1420 };
const ALL_ERRORS: [ScmpError; 3] = [
    ScmpError::DestinationUnreachable {
        code: UnreachableCode::PortUnreachable,
    },
    TOO_BIG,
    ScmpError::ParameterProblem {
        code: ProblemCode::UnknownPathType,
        pointer: 8,
    },
];

fn gateway() -> scion_packet::ScionAddress {
    address("1-ff00:0:110", "198.51.100.1")
}

/// Returns a packet from `peer` at the end of its path.
fn arrived() -> Vec<u8> {
    let mut packet = udp(
        &to_client().with_path(&three_segments()).unwrap(),
        PEER_PORT,
        CLIENT_PORT,
    );
    set_position(&mut packet, 2, 6);
    packet
}

fn reply(error: ScmpError, offender: &[u8]) -> Result<Vec<u8>, NoAnswer> {
    let mut out = Vec::new();
    error
        .append_reply(gateway(), &ScionPacket::parse(offender).unwrap(), &mut out)
        .map(|()| out)
}

#[test]
fn sciparse_reads_every_error_as_it_was_written() {
    let offender = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for error in ALL_ERRORS {
        let mut packet = Vec::new();
        error.append(gateway(), client(), &offender, &mut packet);
        let (view, rest) = ScionRawPacketView::try_from_slice(&packet).unwrap();
        assert!(rest.is_empty());
        let scmp = view.try_as_scmp().unwrap();
        let quote = match (error, scmp.scmp().message()) {
            (
                ScmpError::DestinationUnreachable { .. },
                ScmpMessageView::DestinationUnreachable(message),
            ) => {
                assert_eq!(
                    message.code(),
                    ScmpDestinationUnreachableCode::PortUnreachable
                );
                message.offending_packet()
            }
            (ScmpError::PacketTooBig { mtu }, ScmpMessageView::PacketTooBig(message)) => {
                assert_eq!(message.mtu(), mtu);
                message.offending_packet()
            }
            (
                ScmpError::ParameterProblem { pointer, .. },
                ScmpMessageView::ParameterProblem(message),
            ) => {
                assert_eq!(message.code(), ScmpParameterProblemCode::UnknownPathType);
                assert_eq!(message.pointer(), pointer);
                message.offending_packet()
            }
            (error, message) => panic!("{error:?} was read as {message:?}"),
        };
        assert_eq!(quote, offender);
        assert_eq!(reencoded(&packet).unwrap(), packet, "the checksum differs");
    }
}

#[test]
fn codes_match_sciparse() {
    for (code, number) in [
        (
            ProblemCode::InvalidCommonHeader,
            ScmpParameterProblemCode::InvalidCommonHeader,
        ),
        (
            ProblemCode::UnknownVersion,
            ScmpParameterProblemCode::UnknownScionVersion,
        ),
        (
            ProblemCode::InvalidPacketSize,
            ScmpParameterProblemCode::InvalidPacketSize,
        ),
        (
            ProblemCode::UnknownPathType,
            ScmpParameterProblemCode::UnknownPathType,
        ),
        (
            ProblemCode::InvalidSourceAddress,
            ScmpParameterProblemCode::InvalidSourceAddress,
        ),
        (
            ProblemCode::UnknownConsIngress,
            ScmpParameterProblemCode::UnknownHopFieldConsIngressInterface,
        ),
        (
            ProblemCode::UnknownConsEgress,
            ScmpParameterProblemCode::UnknownHopFieldConsEgressInterface,
        ),
    ] {
        assert_eq!(code as u8, u8::from(number));
    }
    for (code, number) in [
        (
            UnreachableCode::NoRoute,
            ScmpDestinationUnreachableCode::NoRouteToDestination,
        ),
        (
            UnreachableCode::AdministrativelyDenied,
            ScmpDestinationUnreachableCode::CommunicationAdministrativelyDenied,
        ),
        (
            UnreachableCode::AddressUnreachable,
            ScmpDestinationUnreachableCode::AddressUnreachable,
        ),
        (
            UnreachableCode::PortUnreachable,
            ScmpDestinationUnreachableCode::PortUnreachable,
        ),
    ] {
        assert_eq!(code as u8, u8::from(number));
    }
}

#[test]
fn the_quote_is_truncated_to_a_packet_of_1232_bytes() {
    for (source, destination) in [(gateway(), client()), (peer(), peer()), (gateway(), peer())] {
        for length in 1100..1300 {
            let offender = vec![0x5a; length];
            let mut packet = Vec::new();
            TOO_BIG.append(source, destination, &offender, &mut packet);
            let view = ScionPacket::parse(&packet).unwrap();
            let whole = view.header_len() + 8 + length;
            assert_eq!(packet.len(), whole.min(MAX_ERROR_PACKET_BYTES));
            assert_eq!(view.as_bytes(), packet);
        }
    }
}

#[test]
fn a_packet_that_arrived_is_answered_on_its_reversed_path() {
    let offender = arrived();
    let answer = reply(TOO_BIG, &offender).unwrap();
    let view = ScionPacket::parse(&answer).unwrap();
    assert_eq!(
        (view.dst_isd_as(), view.dst_host()),
        (peer().isd_as, Host::Ip(peer().ip))
    );
    assert_eq!(
        (view.src_isd_as(), view.src_host()),
        (gateway().isd_as, Host::Ip(gateway().ip))
    );
    assert_eq!(delivery_port(&view), Ok(PEER_PORT));
    let Path::Standard(path) = view.path() else {
        panic!("the path is a standard path")
    };
    assert_eq!(path.segment_lengths(), [2, 2, 3]);
    assert_eq!(
        (path.current_info_field(), path.current_hop_field()),
        (0, 0)
    );
    // The last interface of the path is the first of the reversed path.
    assert_eq!(scion_packet::egress_interface(&view), Ok(71));
}

#[test]
fn a_sender_in_this_as_is_answered_on_the_empty_path() {
    let without_segments = to_client().with_path(&[]).unwrap();
    for builder in [to_client(), without_segments] {
        let answer = reply(TOO_BIG, &udp(&builder, PEER_PORT, CLIENT_PORT)).unwrap();
        assert!(matches!(
            ScionPacket::parse(&answer).unwrap().path(),
            Path::Empty
        ));
    }
}

#[test]
fn a_reply_on_the_longest_path_has_a_quote_and_fits() {
    let hops = |count| crate::support::segment(true, &vec![(1, 2); count]);
    let builder = to_client()
        .with_path(&[hops(30), hops(30), hops(4)])
        .unwrap();
    let mut offender = Vec::new();
    builder
        .append_udp(PEER_PORT, CLIENT_PORT, &[0; 9000], &mut offender)
        .unwrap();
    set_position(&mut offender, 2, 63);
    let answer = reply(TOO_BIG, &offender).unwrap();
    assert_eq!(answer.len(), MAX_ERROR_PACKET_BYTES);
    assert_eq!(reencoded(&answer).unwrap(), answer);
}

#[test]
fn a_packet_before_the_end_of_its_path_has_no_return_path() {
    let mut offender = arrived();
    for (info_field, hop_field) in [(0, 0), (2, 5), (1, 6), (3, 63)] {
        set_position(&mut offender, info_field, hop_field);
        assert_eq!(reply(TOO_BIG, &offender), Err(NoAnswer::NoReturnPath));
    }
    let mut offender = arrived();
    offender[8] = 4;
    assert_eq!(reply(TOO_BIG, &offender), Err(NoAnswer::NoReturnPath));
}

#[test]
fn an_scmp_error_has_no_answer() {
    for message_type in [1, 2, 4, 5, 6, 77, 127] {
        let offender = scmp(&to_client(), message_type, &[0; 60]);
        assert_eq!(reply(TOO_BIG, &offender), Err(NoAnswer::IsScmpError));
        let offender = with_extensions(&offender, &[(200, 0), (201, 0)]);
        assert_eq!(reply(TOO_BIG, &offender), Err(NoAnswer::IsScmpError));
    }
    assert_eq!(
        reply(TOO_BIG, &payload(&to_client(), 202, &[])),
        Err(NoAnswer::IsScmpError)
    );
    for offender in [echo_request(&to_client(), 1), echo_reply(&to_client(), 1)] {
        assert!(reply(TOO_BIG, &offender).is_ok());
    }
}

#[test]
fn a_source_that_is_not_a_single_host_has_no_answer() {
    for ip in ["224.0.0.1", "0.0.0.0", "255.255.255.255", "::", "ff02::1"] {
        let builder = PacketBuilder::new(address("2-ff00:0:222", ip), client());
        let offender = udp(&builder, PEER_PORT, CLIENT_PORT);
        assert_eq!(
            reply(TOO_BIG, &offender),
            Err(NoAnswer::SourceNotUnique),
            "{ip}"
        );
    }
    let mut service = udp(
        &PacketBuilder::new(client(), client()),
        PEER_PORT,
        CLIENT_PORT,
    );
    service[9] = 0x04;
    assert_eq!(reply(TOO_BIG, &service), Err(NoAnswer::SourceNotUnique));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn replies_have_the_path_that_sciparse_reverses(mut offender in well_formed()) {
        if let Path::Standard(path) = ScionPacket::parse(&offender).unwrap().path() {
            let last = (path.info_field_count() - 1, path.hop_field_count() - 1);
            set_position(&mut offender, last.0 as u8, last.1 as u8);
        }
        let packet = ScionPacket::parse(&offender).unwrap();
        let mut answer = Vec::new();
        if TOO_BIG.append_reply(gateway(), &packet, &mut answer).is_err() {
            prop_assert!(answer.is_empty());
            return Ok(());
        }
        prop_assert!(answer.len() <= MAX_ERROR_PACKET_BYTES);
        prop_assert_eq!(&reencoded(&answer).unwrap(), &answer);
        let (offender, _) = ScionRawPacketView::try_from_slice(&offender).unwrap();
        let reversed = offender.header().path().to_model().try_into_reversed().unwrap();
        let (answer, _) = ScionRawPacketView::try_from_slice(&answer).unwrap();
        prop_assert_eq!(answer.header().path().to_model(), reversed);
    }
}

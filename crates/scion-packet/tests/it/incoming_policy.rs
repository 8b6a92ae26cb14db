//! The policy for packets from a tunnel, and the answers to violations.

use std::net::SocketAddr;

use scion_packet::build::PacketBuilder;
use scion_packet::scmp::ProblemCode;
use scion_packet::{
    IncomingPolicy, PolicyViolation, ScionAddress, ScionPacket, ScmpError, delivery_port,
};

use crate::support::{
    CLIENT_PORT, PEER_PORT, address, client, echo_reply, echo_request, from_client, payload, peer,
    scmp, segment, tcp, three_segments, traceroute, udp, with_extensions,
};

const ANY_AS: IncomingPolicy = IncomingPolicy {
    local_isd_as: Vec::new(),
};

fn tunnel() -> SocketAddr {
    SocketAddr::new(client().ip, CLIENT_PORT)
}

fn check(packet: &[u8]) -> Result<(), PolicyViolation> {
    ANY_AS.check(packet, tunnel()).map(|_| ())
}

/// Asserts the violation, and returns code and pointer of the SCMP error.
fn answer_to(packet: &[u8], violation: PolicyViolation) -> Option<(ProblemCode, u16)> {
    assert_eq!(check(packet), Err(violation));
    match violation.scmp_error(packet) {
        Some(ScmpError::ParameterProblem { code, pointer }) => Some((code, pointer)),
        None => None,
        other => panic!("{other:?} is not a parameter problem"),
    }
}

#[test]
fn packets_of_clients_pass() {
    for builder in [
        from_client(),
        from_client().with_path(&three_segments()).unwrap(),
    ] {
        for packet in [
            udp(&builder, CLIENT_PORT, PEER_PORT),
            tcp(&builder, CLIENT_PORT, PEER_PORT),
            echo_request(&builder, CLIENT_PORT),
            traceroute(&builder, 130, CLIENT_PORT),
        ] {
            assert_eq!(check(&packet), Ok(()));
            assert_eq!(
                check(&with_extensions(&packet, &[(200, 1), (201, 2)])),
                Ok(())
            );
        }
    }
}

#[test]
fn the_accepted_view_has_no_padding() {
    let packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    for padding in 0..16 {
        let padded = [&packet[..], &vec![0; padding]].concat();
        assert_eq!(ANY_AS.check(&padded, tunnel()).unwrap().as_bytes(), packet);
    }
}

#[test]
fn a_malformed_header_is_answered_with_an_invalid_common_header() {
    let mut wrong_length = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    wrong_length[5] += 1;
    for bytes in [&[][..], &[1, 2, 3, 4], &wrong_length] {
        let answer = answer_to(bytes, PolicyViolation::MalformedHeader);
        assert_eq!(answer, Some((ProblemCode::InvalidCommonHeader, 0)));
    }
}

#[test]
fn another_version_is_answered_with_an_unknown_version() {
    let mut packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    packet[0] |= 0x10;
    let answer = answer_to(&packet, PolicyViolation::UnsupportedVersion);
    assert_eq!(answer, Some((ProblemCode::UnknownVersion, 0)));
}

#[test]
fn a_truncated_payload_is_answered_with_an_invalid_size() {
    let packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    let short = &packet[..packet.len() - 1];
    let answer = answer_to(short, PolicyViolation::TruncatedPayload);
    assert_eq!(answer, Some((ProblemCode::InvalidPacketSize, 0)));
}

#[test]
fn a_foreign_source_host_is_answered_at_the_source_host() {
    for (source, destination, offset) in [
        (address("1-ff00:0:110", "192.0.2.99"), peer(), 28 + 16),
        (address("1-ff00:0:110", "2001:db8::1"), client(), 28 + 4),
        // The IPv4-mapped form of the same address is a different host.
        (
            address("1-ff00:0:110", "::ffff:192.0.2.1"),
            client(),
            28 + 4,
        ),
    ] {
        let packet = udp(
            &PacketBuilder::new(source, destination),
            CLIENT_PORT,
            PEER_PORT,
        );
        let answer = answer_to(&packet, PolicyViolation::ForeignSourceHost);
        assert_eq!(answer, Some((ProblemCode::InvalidSourceAddress, offset)));
    }
}

#[test]
fn a_service_address_is_refused_as_source() {
    let mut packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    packet[9] = packet[9] & 0xf0 | 0x4;
    let answer = answer_to(&packet, PolicyViolation::ForeignSourceHost);
    assert_eq!(answer, Some((ProblemCode::InvalidSourceAddress, 44)));
}

#[test]
fn an_ipv6_tunnel_accepts_its_ipv6_source() {
    let source = address("1-ff00:0:110", "2001:db8::77");
    let packet = udp(&PacketBuilder::new(source, peer()), CLIENT_PORT, PEER_PORT);
    assert!(
        ANY_AS
            .check(&packet, SocketAddr::new(source.ip, CLIENT_PORT))
            .is_ok()
    );
}

#[test]
fn another_path_type_is_answered_at_the_path_type() {
    let mut packet = udp(
        &from_client().with_path(&three_segments()).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    );
    for path_type in 3..=255 {
        packet[8] = path_type;
        let answer = answer_to(&packet, PolicyViolation::UnsupportedPathType);
        assert_eq!(answer, Some((ProblemCode::UnknownPathType, 8)));
    }
}

#[test]
fn a_one_hop_path_is_an_unsupported_path_type() {
    let one_segment = from_client()
        .with_path(&[segment(true, &[(0, 1), (2, 0)])])
        .unwrap();
    let mut packet = udp(&one_segment, CLIENT_PORT, PEER_PORT);
    // A one-hop path has no meta header.
    packet[8] = 2;
    packet[5] -= 1;
    packet.drain(48..52);
    assert_eq!(check(&packet), Err(PolicyViolation::UnsupportedPathType));
    packet[5] -= 1;
    assert_eq!(check(&packet), Err(PolicyViolation::MalformedHeader));
}

#[test]
fn a_foreign_source_as_is_answered_at_the_source_as() {
    let packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    let local = |isd_as: &[&str]| IncomingPolicy {
        local_isd_as: isd_as.iter().map(|text| text.parse().unwrap()).collect(),
    };
    assert!(local(&["1-ff00:0:110"]).check(&packet, tunnel()).is_ok());
    assert!(
        local(&["1-64512", "1-ff00:0:110"])
            .check(&packet, tunnel())
            .is_ok()
    );
    let violation = PolicyViolation::ForeignSourceIsdAs;
    for others in [
        &["1-64512"][..],
        &["2-ff00:0:110", "1-ff00:0:111"],
        &["0-0"],
    ] {
        assert_eq!(
            local(others).check(&packet, tunnel()).unwrap_err(),
            violation
        );
    }
    assert_eq!(
        violation.scmp_error(&packet),
        Some(ScmpError::ParameterProblem {
            code: ProblemCode::InvalidSourceAddress,
            pointer: 20
        })
    );
}

#[test]
fn a_foreign_source_port_is_answered_at_that_port() {
    for (packet, offset) in [
        (udp(&from_client(), CLIENT_PORT + 1, CLIENT_PORT), 48),
        (tcp(&from_client(), 0, CLIENT_PORT), 48),
        (echo_request(&from_client(), PEER_PORT), 52),
        (traceroute(&from_client(), 130, PEER_PORT), 52),
    ] {
        let answer = answer_to(&packet, PolicyViolation::ForeignSourcePort);
        assert_eq!(answer, Some((ProblemCode::InvalidSourceAddress, offset)));
        let extended = with_extensions(&packet, &[(200, 0), (201, 1)]);
        let answer = answer_to(&extended, PolicyViolation::ForeignSourcePort);
        assert_eq!(
            answer,
            Some((ProblemCode::InvalidSourceAddress, offset + 4 + 8))
        );
    }
}

#[test]
fn packets_without_a_source_port_pass_on_any_tunnel_of_the_host() {
    for packet in [
        echo_reply(&from_client(), PEER_PORT),
        traceroute(&from_client(), 131, PEER_PORT),
        scmp(&from_client(), 200, &[0; 60]),
        payload(&from_client(), 203, &[0; 24]),
        payload(&from_client(), 59, &[]),
    ] {
        assert_eq!(check(&packet), Ok(()));
    }
}

#[test]
fn a_truncated_upper_layer_is_refused() {
    for packet in [
        payload(&from_client(), 17, &[0; 7]),
        payload(&from_client(), 6, &[0; 19]),
    ] {
        let answer = answer_to(&packet, PolicyViolation::TruncatedUpperLayer);
        assert_eq!(answer, Some((ProblemCode::InvalidPacketSize, 0)));
    }
    let request = scmp(&from_client(), 128, &[0; 3]);
    let answer = answer_to(&request, PolicyViolation::TruncatedUpperLayer);
    assert_eq!(answer, Some((ProblemCode::InvalidPacketSize, 0)));
}

#[test]
fn malformed_extension_headers_are_not_answered() {
    let packet = with_extensions(
        &udp(&from_client(), CLIENT_PORT, PEER_PORT),
        &[(201, 0), (201, 0)],
    );
    assert_eq!(
        answer_to(&packet, PolicyViolation::MalformedExtension),
        None
    );
}

#[test]
fn an_scmp_error_is_never_answered() {
    let foreign = PacketBuilder::new(peer(), client());
    for message_type in [0, 1, 2, 3, 4, 5, 6, 100, 127] {
        let error = scmp(&foreign, message_type, &[0; 60]);
        for extensions in [&[][..], &[(200, 0)], &[(201, 3)], &[(200, 1), (201, 0)]] {
            let error = with_extensions(&error, extensions);
            assert_eq!(answer_to(&error, PolicyViolation::ForeignSourceHost), None);
        }
    }
    let informational = scmp(&foreign, 128, &[0; 60]);
    assert!(answer_to(&informational, PolicyViolation::ForeignSourceHost).is_some());
}

#[test]
fn a_possible_scmp_error_is_not_answered() {
    let mut malformed = scmp(&from_client(), 1, &[0; 60]);
    malformed[5] += 1;
    for next_header in [200, 201, 202] {
        malformed[4] = next_header;
        assert_eq!(
            answer_to(&malformed, PolicyViolation::MalformedHeader),
            None
        );
    }
    let empty = payload(&from_client(), 202, &[]);
    assert_eq!(
        answer_to(&empty, PolicyViolation::TruncatedUpperLayer),
        None
    );
}

#[test]
fn the_answer_is_addressed_to_the_client_behind_the_tunnel() {
    let claimed = ScionAddress {
        ip: "192.0.2.99".parse().unwrap(),
        ..client()
    };
    let packet = udp(&PacketBuilder::new(claimed, peer()), CLIENT_PORT, PEER_PORT);
    let violation = ANY_AS.check(&packet, tunnel()).unwrap_err();
    let gateway = "198.51.100.1".parse().unwrap();
    let mut answer = vec![0xaa];
    assert!(violation.append_answer(&packet, tunnel().ip(), gateway, &mut answer));

    let (before, answer) = answer.split_first().unwrap();
    assert_eq!(*before, 0xaa);
    let answer = ScionPacket::parse(answer).unwrap();
    assert_eq!(answer.dst_host(), scion_packet::Host::Ip(tunnel().ip()));
    assert_eq!(answer.dst_isd_as(), client().isd_as);
    assert_eq!(answer.src_host(), scion_packet::Host::Ip(gateway));
    assert_eq!(answer.src_isd_as(), client().isd_as);
    assert_eq!(delivery_port(&answer), Ok(CLIENT_PORT));
}

#[test]
fn bytes_without_a_source_as_are_answered_from_and_to_0_0() {
    let mut other_version = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    other_version[0] |= 0x10;
    for bytes in [&[1, 2, 3][..], &other_version] {
        let violation = ANY_AS.check(bytes, tunnel()).unwrap_err();
        let mut answer = Vec::new();
        assert!(violation.append_answer(bytes, client().ip, peer().ip, &mut answer));
        let answer = ScionPacket::parse(&answer).unwrap();
        assert_eq!(
            (answer.src_isd_as().to_u64(), answer.dst_isd_as().to_u64()),
            (0, 0)
        );
        assert!(answer.payload().ends_with(bytes));
    }
}

#[test]
fn without_an_answer_the_buffer_is_unchanged() {
    let error = scmp(&from_client(), 1, &[0; 60]);
    let mut out = vec![1, 2, 3];
    let violation = PolicyViolation::ForeignSourceHost;
    assert!(!violation.append_answer(&error, client().ip, peer().ip, &mut out));
    assert_eq!(out, [1, 2, 3]);
}

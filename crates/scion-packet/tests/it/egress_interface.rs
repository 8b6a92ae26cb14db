//! The egress interface of packets from a tunnel.

use scion_packet::build::Segment;
use scion_packet::scmp::ProblemCode;
use scion_packet::{InfoField, NoEgressInterface, ScionPacket, ScmpError, egress_interface};

use crate::support::{
    CLIENT_PORT, PEER_PORT, from_client, path_offset, scmp, segment, set_position, three_segments,
    udp,
};

fn with_path(segments: &[Segment]) -> Vec<u8> {
    udp(
        &from_client().with_path(segments).unwrap(),
        CLIENT_PORT,
        PEER_PORT,
    )
}

fn interface_of(packet: &[u8]) -> Result<u16, NoEgressInterface> {
    egress_interface(&ScionPacket::parse(packet).unwrap())
}

#[test]
fn in_construction_direction_it_is_the_cons_egress_of_the_first_hop() {
    assert_eq!(
        interface_of(&with_path(&[segment(true, &[(0, 7), (8, 0)])])),
        Ok(7)
    );
}

#[test]
fn against_construction_direction_it_is_the_cons_ingress_of_the_first_hop() {
    assert_eq!(
        interface_of(&with_path(&[segment(false, &[(9, 0), (0, 3)])])),
        Ok(9)
    );
    assert_eq!(interface_of(&with_path(&three_segments())), Ok(11));
}

#[test]
fn at_a_peering_hop_it_is_the_interface_of_the_peering_link() {
    let peering = |construction_direction, interfaces: &[(u16, u16)]| {
        let segment = segment(construction_direction, interfaces);
        let info_field = InfoField {
            peering: true,
            ..segment.info_field
        };
        Segment {
            info_field,
            ..segment
        }
    };
    let packet = with_path(&[
        peering(false, &[(5, 0)]),
        peering(true, &[(6, 16), (17, 0)]),
    ]);
    assert_eq!(interface_of(&packet), Ok(5));
    let packet = with_path(&[peering(true, &[(5, 15), (16, 0)])]);
    assert_eq!(interface_of(&packet), Ok(15));
}

#[test]
fn a_packet_with_the_empty_path_has_none() {
    let packet = udp(&from_client(), CLIENT_PORT, PEER_PORT);
    assert_eq!(interface_of(&packet), Err(NoEgressInterface::EmptyPath));
}

#[test]
fn a_packet_with_another_path_type_has_none() {
    let mut packet = with_path(&[segment(true, &[(0, 7), (8, 0)])]);
    packet[8] = 3;
    assert_eq!(
        interface_of(&packet),
        Err(NoEgressInterface::UnsupportedPathType)
    );
}

#[test]
fn a_path_without_segments_has_none() {
    assert_eq!(
        interface_of(&with_path(&[])),
        Err(NoEgressInterface::NoSegments)
    );
}

#[test]
fn a_path_that_is_not_at_its_first_hop_has_none() {
    let mut packet = with_path(&three_segments());
    for info_field in 0..4 {
        for hop_field in 0..64 {
            set_position(&mut packet, info_field, hop_field);
            let expected = if (info_field, hop_field) == (0, 0) {
                Ok(11)
            } else {
                Err(NoEgressInterface::NotAtStart)
            };
            assert_eq!(interface_of(&packet), expected);
        }
    }
}

#[test]
fn interface_0_is_refused() {
    assert_eq!(
        interface_of(&with_path(&[segment(true, &[(7, 0)])])),
        Err(NoEgressInterface::EndsHere)
    );
    assert_eq!(
        interface_of(&with_path(&[segment(false, &[(0, 7)])])),
        Err(NoEgressInterface::EndsHere)
    );
}

#[test]
fn an_unknown_interface_is_reported_at_the_first_hop_field() {
    for (construction_direction, code) in [
        (true, ProblemCode::UnknownConsEgress),
        (false, ProblemCode::UnknownConsIngress),
    ] {
        let packet = with_path(&[segment(construction_direction, &[(1, 2), (3, 4)])]);
        let pointer = (path_offset(&packet) + 4 + 8) as u16;
        assert_eq!(
            ScmpError::unknown_egress_interface(&ScionPacket::parse(&packet).unwrap()),
            Some(ScmpError::ParameterProblem { code, pointer })
        );
    }
}

#[test]
fn an_unknown_interface_is_not_reported_for_an_scmp_error_or_without_a_hop_field() {
    let builder = from_client().with_path(&three_segments()).unwrap();
    for packet in [
        scmp(&builder, 1, &[0; 40]),
        scmp(&builder, 127, &[0; 40]),
        with_path(&[]),
        udp(&from_client(), CLIENT_PORT, PEER_PORT),
    ] {
        let packet = ScionPacket::parse(&packet).unwrap();
        assert_eq!(ScmpError::unknown_egress_interface(&packet), None);
    }
}

//! The delivery port of packets from SCION.

use scion_packet::{NoDeliveryPort, ScionPacket, delivery_port, upper_layer};

use crate::support::{
    CLIENT_PORT, PEER_PORT, echo_reply, echo_request, from_client, payload, scmp, tcp,
    three_segments, to_client, traceroute, udp, with_extensions,
};

/// Returns the port, and asserts that it is the same with extension headers.
fn port_of(packet: &[u8]) -> Result<u16, NoDeliveryPort> {
    let port = delivery_port(&ScionPacket::parse(packet).unwrap());
    for extensions in [&[(200, 1)][..], &[(201, 0)], &[(200, 3), (201, 7)]] {
        let extended = with_extensions(packet, extensions);
        assert_eq!(delivery_port(&ScionPacket::parse(&extended).unwrap()), port);
    }
    port
}

/// Returns SCMP errors of all types that quote `quote`.
fn errors(quote: &[u8]) -> [Vec<u8>; 5] {
    [(1, 4), (2, 4), (4, 4), (5, 16), (6, 24)].map(|(message_type, fields)| {
        scmp(
            &to_client(),
            message_type,
            &[&vec![0; fields][..], quote].concat(),
        )
    })
}

#[test]
fn udp_and_tcp_go_to_the_destination_port() {
    assert_eq!(
        port_of(&udp(&to_client(), PEER_PORT, CLIENT_PORT)),
        Ok(CLIENT_PORT)
    );
    assert_eq!(
        port_of(&tcp(&to_client(), PEER_PORT, CLIENT_PORT)),
        Ok(CLIENT_PORT)
    );
}

#[test]
fn echo_and_traceroute_go_to_the_identifier() {
    assert_eq!(
        port_of(&echo_request(&to_client(), CLIENT_PORT)),
        Ok(CLIENT_PORT)
    );
    assert_eq!(
        port_of(&echo_reply(&to_client(), CLIENT_PORT)),
        Ok(CLIENT_PORT)
    );
    assert_eq!(
        port_of(&traceroute(&to_client(), 130, CLIENT_PORT)),
        Ok(CLIENT_PORT)
    );
    assert_eq!(
        port_of(&traceroute(&to_client(), 131, CLIENT_PORT)),
        Ok(CLIENT_PORT)
    );
}

#[test]
fn an_error_goes_to_the_quoted_source_port() {
    let sender = from_client().with_path(&three_segments()).unwrap();
    for quoted in [
        udp(&sender, CLIENT_PORT, PEER_PORT),
        tcp(&sender, CLIENT_PORT, PEER_PORT),
        echo_request(&sender, CLIENT_PORT),
        traceroute(&sender, 130, CLIENT_PORT),
    ] {
        for extensions in [&[][..], &[(200, 2)], &[(201, 0)], &[(200, 0), (201, 9)]] {
            for error in errors(&with_extensions(&quoted, extensions)) {
                assert_eq!(port_of(&error), Ok(CLIENT_PORT));
            }
        }
    }
}

#[test]
fn a_quote_may_be_truncated_behind_the_port() {
    let sender = from_client().with_path(&three_segments()).unwrap();
    for (quoted, port_end) in [
        (udp(&sender, CLIENT_PORT, PEER_PORT), 2),
        (tcp(&sender, CLIENT_PORT, PEER_PORT), 2),
        (echo_request(&sender, CLIENT_PORT), 6),
        (traceroute(&sender, 130, CLIENT_PORT), 6),
    ] {
        let needed = ScionPacket::parse(&quoted).unwrap().header_len() + port_end;
        for end in 0..quoted.len() {
            let expected = if end < needed {
                Err(NoDeliveryPort::UnusableQuote)
            } else {
                Ok(CLIENT_PORT)
            };
            for error in errors(&quoted[..end]) {
                assert_eq!(port_of(&error), expected, "{end} of {needed} bytes");
            }
        }
    }
}

#[test]
fn an_error_about_a_packet_without_a_source_port_has_no_port() {
    let nested = scmp(
        &from_client(),
        1,
        &[&[0; 4][..], &udp(&from_client(), 1, 2)].concat(),
    );
    for quoted in [
        echo_reply(&from_client(), CLIENT_PORT),
        traceroute(&from_client(), 131, CLIENT_PORT),
        nested,
        payload(&from_client(), 203, &[0; 24]),
        with_extensions(
            &udp(&from_client(), CLIENT_PORT, PEER_PORT),
            &[(200, 0), (200, 0)],
        ),
        vec![0xff; 100],
    ] {
        for error in errors(&quoted) {
            assert_eq!(port_of(&error), Err(NoDeliveryPort::UnusableQuote));
        }
    }
}

#[test]
fn a_truncated_upper_layer_has_no_port() {
    let truncated = Err(NoDeliveryPort::TruncatedUpperLayer);
    let headers = [(17, 8), (6, 20)];
    for (next_header, header_bytes) in headers {
        for length in 0..header_bytes {
            assert_eq!(
                port_of(&payload(&to_client(), next_header, &vec![0; length])),
                truncated
            );
        }
        assert!(port_of(&payload(&to_client(), next_header, &vec![0; header_bytes])).is_ok());
    }
    for (message_type, header_bytes) in [
        (1, 8),
        (2, 8),
        (4, 8),
        (5, 20),
        (6, 28),
        (128, 8),
        (129, 8),
        (130, 24),
        (131, 24),
    ] {
        for length in 0..header_bytes - 4 {
            assert_eq!(
                port_of(&scmp(&to_client(), message_type, &vec![0; length])),
                truncated
            );
        }
        let whole = scmp(&to_client(), message_type, &vec![0; header_bytes - 4]);
        assert_ne!(port_of(&whole), truncated, "type {message_type}");
    }
    assert_eq!(
        port_of(&payload(&to_client(), upper_layer::SCMP, &[])),
        truncated
    );
}

#[test]
fn other_protocols_and_message_types_have_no_port() {
    for next_header in [0, 1, 43, 58, 203, 253, 255] {
        assert_eq!(
            port_of(&payload(&to_client(), next_header, &[0; 40])),
            Err(NoDeliveryPort::UnsupportedProtocol)
        );
    }
    for message_type in [0, 3, 7, 100, 127, 132, 200, 255] {
        assert_eq!(
            port_of(&scmp(&to_client(), message_type, &[0; 40])),
            Err(NoDeliveryPort::UnsupportedScmpType)
        );
    }
}

#[test]
fn malformed_extension_headers_have_no_port() {
    let packet = with_extensions(
        &udp(&to_client(), PEER_PORT, CLIENT_PORT),
        &[(201, 0), (200, 0)],
    );
    assert_eq!(
        delivery_port(&ScionPacket::parse(&packet).unwrap()),
        Err(NoDeliveryPort::MalformedExtension)
    );
}

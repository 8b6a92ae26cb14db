//! Complaints: SCMP errors of endhosts, allowed only about packets that were sent to them.

use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::sample::select;
use scion_packet::build::PacketBuilder;
use scion_packet::scmp::UnreachableCode;
use scion_packet::{IncomingPolicy, PolicyViolation, ScionAddress, ScionPacket, ScmpError};

use crate::support::{
    CLIENT_PORT, PEER_PORT, address, client, echo_reply, echo_request, from_client, payload, peer,
    scmp, tcp, three_segments, to_client, traceroute, udp, with_extensions,
};
use testkit::oracle::agreement::assert_same_quote;

/// SCMP error types of endhosts, and the number of bytes from byte 4 to the quote.
const ERRORS: [(u8, usize); 3] = [(1, 4), (2, 4), (4, 4)];

/// SCMP error types of routers only.
const ROUTER_ERRORS: [(u8, usize); 2] = [(5, 16), (6, 24)];

fn policy() -> IncomingPolicy {
    IncomingPolicy {
        local_isd_as: vec![client().isd_as],
    }
}

fn tunnel() -> SocketAddr {
    SocketAddr::new(client().ip, CLIENT_PORT)
}

/// Returns an SCMP error of the client to `destination` about `quote`.
fn complaint_to(
    destination: ScionAddress,
    (message_type, fields): (u8, usize),
    quote: &[u8],
) -> Vec<u8> {
    let builder = PacketBuilder::new(client(), destination);
    scmp(
        &builder,
        message_type,
        &[&vec![0; fields][..], quote].concat(),
    )
}

fn complaint(quote: &[u8]) -> Vec<u8> {
    complaint_to(peer(), ERRORS[0], quote)
}

fn check(error: &[u8]) -> Result<(), PolicyViolation> {
    policy().check(error, tunnel()).map(|_| ())
}

fn check_host(error: &[u8]) -> Result<(), PolicyViolation> {
    let packet = ScionPacket::parse(error).unwrap();
    policy().check_host(&packet, client().ip)
}

/// Returns packets of every kind that are delivered to `port` of the client.
fn sent_to_client(port: u16) -> [Vec<u8>; 6] {
    let builder = to_client().with_path(&three_segments()).unwrap();
    [
        udp(&builder, PEER_PORT, port),
        tcp(&builder, PEER_PORT, port),
        echo_request(&builder, port),
        echo_reply(&builder, port),
        traceroute(&builder, 130, port),
        traceroute(&builder, 131, port),
    ]
}

#[test]
fn a_client_may_complain_about_packets_sent_to_it() {
    for quote in sent_to_client(CLIENT_PORT) {
        for kind in ERRORS {
            for extensions in [&[][..], &[(200, 1)], &[(201, 0)], &[(200, 0), (201, 2)]] {
                let extended = with_extensions(&quote, extensions);
                let error = complaint_to(peer(), kind, &extended);
                assert_eq!(check(&error), Ok(()), "{kind:?} {extensions:?}");
                assert_eq!(check(&with_extensions(&error, extensions)), Ok(()));
                assert_eq!(check_host(&error), Ok(()));
            }
        }
    }
}

#[test]
fn an_error_written_by_this_crate_passes() {
    let quote = udp(&to_client(), PEER_PORT, CLIENT_PORT);
    let mut error = Vec::new();
    let unreachable = ScmpError::DestinationUnreachable {
        code: UnreachableCode::PortUnreachable,
    };
    unreachable
        .append_reply(client(), &ScionPacket::parse(&quote).unwrap(), &mut error)
        .unwrap();
    assert_eq!(check(&error), Ok(()));
}

#[test]
fn a_client_may_not_complain_about_packets_sent_to_another_host() {
    let other_host = address("1-ff00:0:110", "192.0.2.99");
    let other_as = address("2-ff00:0:110", "192.0.2.1");
    let mapped = address("1-ff00:0:110", "::ffff:192.0.2.1");
    for victim in [other_host, other_as, mapped, peer()] {
        let builder = PacketBuilder::new(peer(), victim);
        let quote = udp(&builder, PEER_PORT, CLIENT_PORT);
        for kind in ERRORS {
            let error = complaint_to(peer(), kind, &quote);
            assert_eq!(check(&error), Err(PolicyViolation::ForeignQuote));
            assert_eq!(check_host(&error), Err(PolicyViolation::ForeignQuote));
        }
    }
}

#[test]
fn a_client_may_not_complain_about_packets_sent_to_another_port_of_its_host() {
    for quote in sent_to_client(CLIENT_PORT ^ 1) {
        for extensions in [&[][..], &[(200, 1), (201, 0)]] {
            let error = complaint(&with_extensions(&quote, extensions));
            assert_eq!(check(&error), Err(PolicyViolation::ForeignQuote));
            // A host of the AS owns all of its ports.
            assert_eq!(check_host(&error), Ok(()));
        }
    }
}

#[test]
fn a_client_may_complain_to_the_sender_only() {
    let quote = udp(&to_client(), PEER_PORT, CLIENT_PORT);
    let same_as = address("2-ff00:0:222", "2001:db8::3");
    let same_host = address("2-ff00:0:223", "2001:db8::2");
    for victim in [same_as, same_host, client()] {
        let error = complaint_to(victim, ERRORS[0], &quote);
        assert_eq!(check(&error), Err(PolicyViolation::ForeignQuote));
    }
}

#[test]
fn a_client_may_not_report_an_interface_or_a_connection_that_is_down() {
    for kind in ROUTER_ERRORS {
        for quote in sent_to_client(CLIENT_PORT) {
            for length in [0, 20, quote.len()] {
                let error = complaint_to(peer(), kind, &quote[..length]);
                let extended = with_extensions(&error, &[(200, 1), (201, 0)]);
                for error in [error, extended] {
                    let verdict = Err(PolicyViolation::ForeignQuote);
                    assert_eq!((check(&error), check_host(&error)), (verdict, verdict));
                    assert_eq!(PolicyViolation::ForeignQuote.scmp_error(&error), None);
                }
            }
        }
    }
}

#[test]
fn a_complaint_to_an_unknown_kind_of_host_is_refused() {
    let mut quote = udp(&to_client(), PEER_PORT, CLIENT_PORT);
    quote[9] = quote[9] & 0xf0 | 0x7;
    let mut error = complaint(&quote);
    // The same unknown kind as source of the quote and as destination of the error.
    error[9] = error[9] & 0x0f | 0x70;
    assert_eq!(check(&error), Err(PolicyViolation::ForeignQuote));
}

#[test]
fn a_quote_truncated_before_the_port_is_refused() {
    for quote in sent_to_client(CLIENT_PORT) {
        let quoted = ScionPacket::parse(&quote).unwrap();
        // The port ends after 4 bytes of UDP and TCP, 6 of SCMP.
        let needed = quoted.header_len() + if quote[4] == 202 { 6 } else { 4 };
        for length in 0..quote.len() {
            let expected = if length < needed {
                Err(PolicyViolation::UnusableQuote)
            } else {
                Ok(())
            };
            assert_eq!(check(&complaint(&quote[..length])), expected, "{length}");
        }
    }
}

#[test]
fn a_quote_without_a_port_is_refused() {
    let error = complaint(&udp(&to_client(), PEER_PORT, CLIENT_PORT));
    let backwards = PacketBuilder::new(peer(), client());
    for quote in [
        payload(&to_client(), 203, &[0; 40]),
        payload(&to_client(), 59, &[]),
        payload(&to_client(), 202, &[]),
        scmp(&to_client(), 200, &[0; 60]),
        // An error about an error, even one that can have been sent to the client.
        scmp(
            &backwards,
            1,
            &[&[0; 4], &udp(&from_client(), CLIENT_PORT, PEER_PORT)[..]].concat(),
        ),
        error,
        with_extensions(&payload(&to_client(), 17, &[0; 8]), &[(201, 0), (201, 0)]),
        vec![0xff; 60],
    ] {
        assert_eq!(
            check(&complaint(&quote)),
            Err(PolicyViolation::UnusableQuote)
        );
    }
}

#[test]
fn an_error_of_an_unknown_type_is_refused() {
    let quote = udp(&to_client(), PEER_PORT, CLIENT_PORT);
    for message_type in (0..128).filter(|known| !matches!(known, 1 | 2 | 4 | 5 | 6)) {
        let error = complaint_to(peer(), (message_type, 4), &quote);
        assert_eq!(check(&error), Err(PolicyViolation::UnusableQuote));
    }
}

#[test]
fn refused_complaints_are_not_answered() {
    for quote in [&udp(&from_client(), CLIENT_PORT, PEER_PORT)[..], &[]] {
        let error = complaint(quote);
        let violation = check(&error).unwrap_err();
        assert_eq!(violation.scmp_error(&error), None);
    }
}

#[test]
fn a_host_of_the_as_sends_from_its_own_address_only() {
    let packet = udp(&from_client(), 1, PEER_PORT);
    assert_eq!(check_host(&packet), Ok(()));
    let other = address("1-ff00:0:110", "192.0.2.99");
    let mapped = address("1-ff00:0:110", "::ffff:192.0.2.1");
    for source in [other, mapped, peer()] {
        let packet = udp(&PacketBuilder::new(source, client()), 1, CLIENT_PORT);
        assert_eq!(check_host(&packet), Err(PolicyViolation::ForeignSourceHost));
    }
    let elsewhere = address("2-ff00:0:110", "192.0.2.1");
    let packet = udp(&PacketBuilder::new(elsewhere, client()), 1, CLIENT_PORT);
    assert_eq!(
        check_host(&packet),
        Err(PolicyViolation::ForeignSourceIsdAs)
    );
}

/// Generates quoted packets of several hosts, ports and protocols, with the verdict on each.
fn quotes() -> impl Strategy<Value = (Vec<u8>, Result<(), PolicyViolation>)> {
    let other = address("1-ff00:0:110", "192.0.2.99");
    let ends = select(vec![
        (peer(), client()),
        (peer(), client()),
        (peer(), other),
        (other, client()),
        (client(), peer()),
    ]);
    let port = select(vec![CLIENT_PORT, CLIENT_PORT, PEER_PORT]);
    let extensions = select(vec![vec![], vec![(200, 1)], vec![(200, 0), (201, 2)]]);
    (ends, port, 0..8_usize, extensions, any::<bool>()).prop_map(
        |((source, destination), port, kind, extensions, has_path)| {
            let mut builder = PacketBuilder::new(source, destination);
            if has_path {
                builder = builder.with_path(&three_segments()).unwrap();
            }
            let packet = match kind {
                0 => udp(&builder, PEER_PORT, port),
                1 => tcp(&builder, PEER_PORT, port),
                2 => echo_request(&builder, port),
                3 => echo_reply(&builder, port),
                4 => traceroute(&builder, 130, port),
                5 => traceroute(&builder, 131, port),
                6 => payload(&builder, 203, &[0; 24]),
                _ => scmp(&builder, 4, &[0; 40]),
            };
            let verdict = if kind >= 6 {
                Err(PolicyViolation::UnusableQuote)
            } else if (source, destination, port) == (peer(), client(), CLIENT_PORT) {
                Ok(())
            } else {
                Err(PolicyViolation::ForeignQuote)
            };
            (with_extensions(&packet, &extensions), verdict)
        },
    )
}

proptest! {
    #[test]
    fn only_complaints_about_own_packets_pass_and_sciparse_agrees(
        (quote, verdict) in quotes(),
        kind in select([&ERRORS[..], &ROUTER_ERRORS[..]].concat()),
        extensions in select(vec![vec![], vec![(201, 0)]]),
        kept in any::<proptest::sample::Index>(),
        cut: bool,
    ) {
        let length = if cut { kept.index(quote.len() + 1) } else { quote.len() };
        let plain = complaint_to(peer(), kind, &quote[..length]);
        let error = with_extensions(&plain, &extensions);
        match check(&error) {
            other if ROUTER_ERRORS.contains(&kind) => {
                prop_assert_eq!(other, Err(PolicyViolation::ForeignQuote));
            }
            Err(PolicyViolation::UnusableQuote) if cut => {}
            other => prop_assert_eq!(other, verdict),
        }
        assert_same_quote(&error, tunnel());
        assert_same_quote(&error, SocketAddr::new(client().ip, PEER_PORT));
    }
}

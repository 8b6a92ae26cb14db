//! SCMP errors: which ones clients may send, and the limits of errors into tunnels.

use std::net::SocketAddr;

use scion_packet::build::PacketBuilder;
use scion_packet::scmp::UnreachableCode;
use scion_packet::{PolicyViolation, ScionAddress, ScionPacket, ScmpError};
use snapgate::config::{Forward, ScmpErrorLimits};
use snapgate::drop_reason::{AdmissionError, DropReason};
use testkit::Router;
use testkit::gateway::{TestGateway, config, scion};
use testkit::packets::{FAR_HOST, from_remote, leaving_by, local, packet, to_remote, within_as};

const FOREIGN_QUOTE: DropReason = DropReason::Policy(PolicyViolation::ForeignQuote);
const TUNNEL_LIMIT: DropReason = DropReason::Admission(AdmissionError::ScmpTunnelLimit);

/// More errors than one tunnel accepts at once with [`gateway_with_limit`].
const MANY: u64 = 50;

fn unreachable(source: ScionAddress, destination: ScionAddress, quote: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let error = ScmpError::DestinationUnreachable {
        code: UnreachableCode::PortUnreachable,
    };
    error.append(source, destination, quote, &mut packet);
    packet
}

/// Header before the quote of "port unreachable".
const PORT_UNREACHABLE: [u8; 8] = [1, 4, 0, 0, 0, 0, 0, 0];
/// Header before the quote of "external interface down", of an interface of a far AS.
const INTERFACE_DOWN: [u8; 20] = [
    5, 0, 0, 0, 0, 2, 0xff, 0, 0, 0, 2, 0x20, 0, 0, 0, 0, 0, 0, 0, 1,
];

/// An SCMP error from `client` to the sender of [`from_remote`], through interface 7.
fn to_remote_about(client: SocketAddr, header: &[u8], quote: &[u8]) -> Vec<u8> {
    let builder = leaving_by(7, local(client.ip()));
    let message = [header, quote].concat();
    packet(|out| builder.append_payload(202, &message, out))
}

/// One error per second into each tunnel, two at once.
fn gateway_with_limit(router: &Router) -> TestGateway {
    let mut forward = scion(&[(7, router.address())]);
    forward.scmp_error_limits = ScmpErrorLimits {
        per_tunnel_per_second: 1,
        ..ScmpErrorLimits::default()
    };
    TestGateway::start(&config(Forward::Scion(forward)))
}

#[test]
fn a_client_cannot_forge_an_error_about_packets_of_others() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(&[(7, router.address())]))));
    let [mut attacker, mut victim, peer] = [(); 3].map(|()| gateway.client());
    let (at_attacker, at_victim) = (attacker.address(), victim.address());
    let [from, to] = [at_attacker, at_victim].map(|client| local(client.ip()));

    // About a packet from the victim to its peer, about one from afar to the peer, and as a router on the way would
    // report a lost packet.
    let forged = [
        unreachable(from, to, &within_as(at_victim, peer.address())),
        to_remote_about(at_attacker, &PORT_UNREACHABLE, &from_remote(peer.address())),
        to_remote_about(at_attacker, &INTERFACE_DOWN, &from_remote(at_attacker)),
    ];
    for packet in &forged {
        attacker.send(packet);
    }
    gateway.wait_for("the drops", |total| {
        total.dropped[FOREIGN_QUOTE.index()] == forged.len() as u64
    });

    // Errors about packets that the attacker received itself are forwarded.
    let own = unreachable(from, to, &within_as(at_victim, at_attacker));
    attacker.send(&own);
    assert_eq!(victim.receive(), own);
    let own = to_remote_about(at_attacker, &PORT_UNREACHABLE, &from_remote(at_attacker));
    attacker.send(&own);
    assert_eq!(router.receive(), own);
    assert_eq!(gateway.stop().total_dropped(), forged.len() as u64);
}

#[test]
fn errors_of_the_gateway_are_limited_per_tunnel() {
    let router = Router::bind();
    let gateway = gateway_with_limit(&router);
    let [mut noisy, mut quiet] = [(); 2].map(|()| gateway.client());
    let unroutable = to_remote(noisy.address(), 8);
    for _ in 0..MANY {
        noisy.send(&unroutable);
    }
    let total = gateway.wait_for("the drops", |total| total.total_dropped() == MANY);
    let limited = total.originated_limited;
    assert!(limited > 0, "{total:#?}");
    for _ in limited..MANY {
        let answer = noisy.receive();
        assert_eq!(ScionPacket::parse(&answer).unwrap().payload()[..2], [4, 50]);
    }

    quiet.send(&to_remote(quiet.address(), 8));
    quiet.receive();
    // No other packet came in between.
    router.send_to(&from_remote(noisy.address()), gateway.internal_address());
    assert_eq!(noisy.receive(), from_remote(noisy.address()));
    assert_eq!(gateway.stop().originated_limited, limited);
}

#[test]
fn errors_from_scion_are_limited_per_tunnel_and_other_packets_are_not() {
    let router = Router::bind();
    let gateway = gateway_with_limit(&router);
    let internal = gateway.internal_address();
    let send = |packet: &[u8]| {
        router.send_to(packet, internal);
    };
    let [mut noisy, mut quiet] = [(); 2].map(|()| gateway.client());
    let error_to = |client: SocketAddr| {
        let quote = to_remote(client, 7);
        unreachable(FAR_HOST, local(client.ip()), &quote)
    };
    let error = error_to(noisy.address());
    for _ in 0..MANY {
        send(&error);
    }
    let total = gateway.wait_for("the fates of the errors", |total| {
        total.sent_outgoing_packets + total.total_dropped() == MANY
    });
    let limited = total.dropped[TUNNEL_LIMIT.index()];
    assert!(limited > 0, "{total:#?}");
    for _ in limited..MANY {
        assert_eq!(noisy.receive(), error);
    }

    let builder = PacketBuilder::new(FAR_HOST, local(noisy.address().ip()));
    let identifier = noisy.address().port();
    let reply = packet(|out| builder.append_echo_reply(identifier, 1, b"pong", out));
    for packet in [&reply, &from_remote(noisy.address())] {
        for _ in 0..MANY {
            send(packet);
            assert_eq!(noisy.receive(), *packet);
        }
    }
    let error = error_to(quiet.address());
    send(&error);
    assert_eq!(quiet.receive(), error);
    assert_eq!(gateway.stop().total_dropped(), limited);
}

#[test]
fn errors_to_addresses_without_a_tunnel_do_not_use_up_the_budget_of_a_worker() {
    let router = Router::bind();
    let mut forward = scion(&[(7, router.address())]);
    forward.scmp_error_limits = ScmpErrorLimits {
        per_second: 1,
        ..ScmpErrorLimits::default()
    };
    let gateway = TestGateway::start(&config(Forward::Scion(forward)));
    let internal = gateway.internal_address();
    let error_to = |client: SocketAddr| {
        let quote = to_remote(client, 7);
        unreachable(FAR_HOST, local(client.ip()), &quote)
    };
    let send = |packet: &[u8]| {
        router.send_to(packet, internal);
    };
    let mut client = gateway.client();
    for port in (1..).take(MANY as usize) {
        send(&error_to(SocketAddr::from(([192, 0, 2, 1], port))));
    }
    let dropped = gateway.wait_for("the drops", |total| total.total_dropped() == MANY);
    let no_tunnel = DropReason::Tunnel(snaptun::DropReason::NoTunnel);
    assert_eq!(dropped.dropped[no_tunnel.index()], MANY);

    let error = error_to(client.address());
    send(&error);
    assert_eq!(client.receive(), error);
    gateway.stop();
}

#[test]
fn errors_between_tunnels_are_limited_per_sender() {
    let router = Router::bind();
    let gateway = gateway_with_limit(&router);
    let mut sender = gateway.client();
    let mut receivers: Vec<_> = (0..MANY).map(|_| gateway.client()).collect();
    let at_sender = sender.address();
    for receiver in &receivers {
        let to = receiver.address();
        let quote = within_as(to, at_sender);
        let error = unreachable(local(at_sender.ip()), local(to.ip()), &quote);
        sender.send(&error);
    }
    let total = gateway.wait_for("the fates of the errors", |total| {
        total.sent_outgoing_packets + total.total_dropped() == MANY && total.in_flight() == 0
    });
    assert!(total.dropped[TUNNEL_LIMIT.index()] > 0, "{total:#?}");

    let packet = within_as(at_sender, receivers[0].address());
    sender.send(&packet);
    let received = std::iter::from_fn(|| Some(receivers[0].receive()));
    assert!(received.take(2).any(|received| received == packet));
    gateway.stop();
}

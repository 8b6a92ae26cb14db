//! `--forward scion`: routers, hairpins, endhosts, and the packets that are refused.

use std::net::SocketAddr;

use scion_packet::build::PacketBuilder;
use scion_packet::scmp::UnreachableCode;
use scion_packet::{PolicyViolation, ScionPacket, ScmpError};
use snapgate::config::{Dispatch, Forward};
use snapgate::drop_reason::{DropReason, RouteError};

use crate::client::Client;
use crate::gateway::{TestGateway, config, own_address, scion, workers};
use crate::packets::{
    LOCAL, REMOTE, Router, address, from_remote, path_through, to_remote, within_as,
};

/// The packets from a far host that a client must get: UDP, SCMP echo reply, SCMP error.
fn answers_to(client: SocketAddr) -> Vec<Vec<u8>> {
    let far = address(REMOTE, "198.51.100.9:443".parse().unwrap());
    let here = address(LOCAL, client);
    let builder = PacketBuilder::new(far, here)
        .with_path(&path_through(3))
        .unwrap();
    let mut answers = vec![from_remote(client), Vec::new(), Vec::new()];
    builder
        .append_echo_reply(client.port(), 1, b"ping", &mut answers[1])
        .unwrap();
    let unreachable = ScmpError::DestinationUnreachable {
        code: UnreachableCode::AddressUnreachable,
    };
    unreachable.append(far, here, &to_remote(client, 7), &mut answers[2]);
    answers
}

#[test]
fn packets_reach_the_router_byte_for_byte_and_answers_come_back() {
    for dispatch in [Dispatch::Kernel, Dispatch::User] {
        let router = Router::bind();
        let mut config = config(Forward::Scion(scion(router.address())));
        config.dispatch = dispatch;
        let gateway = TestGateway::start(&config);
        let internal = gateway.gateway.internal_addr().unwrap();

        // As many as make it certain that user dispatch brings one to the wrong worker (1 - 2^-32).
        for _ in 0..32 {
            let mut client = gateway.client();
            let packet = to_remote(client.address(), 7);
            client.send(&packet);
            assert_eq!(router.receive(), packet);
            for answer in answers_to(client.address()) {
                router.socket.send_to(&answer, internal).unwrap();
                assert_eq!(client.receive(), answer);
            }
        }

        let total = gateway.stop();
        assert_eq!(
            (total.sent_incoming_packets, total.sent_outgoing_packets),
            (32, 96)
        );
        assert_eq!(total.total_dropped(), 0);
        assert_eq!(total.handovers == 0, dispatch == Dispatch::Kernel);
    }
}

#[test]
fn padding_behind_the_payload_does_not_reach_the_router() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(router.address()))));
    let mut client = gateway.client();
    let packet = to_remote(client.address(), 7);
    let mut padded = packet.clone();
    padded.resize(packet.len().next_multiple_of(16) + 16, 0);
    client.send(&padded);
    assert_eq!(router.receive(), packet);
}

#[test]
fn clients_talk_to_each_other_within_and_between_workers() {
    let router = Router::bind();
    let mut config = config(Forward::Scion(scion(router.address())));
    config.workers = workers(2);
    let gateway = TestGateway::start(&config);
    let mut clients: Vec<Client> = (0..12).map(|_| gateway.client()).collect();
    let addresses: Vec<SocketAddr> = clients.iter().map(Client::address).collect();

    for from in 0..clients.len() {
        let to = (from + 1) % clients.len();
        let packet = within_as(addresses[from], addresses[to]);
        clients[from].send(&packet);
        assert_eq!(clients[to].receive(), packet);
    }

    let total = gateway.stop();
    assert_eq!(
        total.hairpins_within_worker + total.hairpins_between_workers,
        12
    );
    assert_eq!(total.given_packets, total.hairpins_between_workers);
    assert_eq!(total.handovers, 0);
    assert_eq!(total.sent_outgoing_packets, 12);
}

#[test]
fn a_local_host_without_a_tunnel_is_served_only_inside_a_local_prefix() {
    for (prefix, served) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let host = Router::bind();
        let mut forward = scion(host.address());
        forward.local_prefixes = vec![prefix.parse().unwrap()];
        let gateway = TestGateway::start(&config(Forward::Scion(forward)));
        let mut client = gateway.client();
        let packet = within_as(client.address(), host.address());
        client.send(&packet);
        if served {
            assert_eq!(host.receive(), packet);
        }
        let no_tunnel = DropReason::Route(RouteError::NoTunnel).index();
        gateway.wait_for("the packet's fate", |total| {
            (total.sent_incoming_packets, total.dropped[no_tunnel])
                == (u64::from(served), u64::from(!served))
        });
    }
}

#[test]
fn a_foreign_source_address_is_refused_with_an_scmp_error_into_the_tunnel() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(router.address()))));
    let mut client = gateway.client();
    let mut foreign = client.address();
    foreign.set_ip("127.0.0.99".parse().unwrap());
    client.send(&to_remote(foreign, 7));

    let answer = client.receive();
    let answer = ScionPacket::parse(&answer).unwrap();
    // Parameter problem (4), invalid source address (33).
    assert_eq!(answer.payload()[..2], [4, 33]);

    let total = gateway.stop();
    let violation = DropReason::Policy(PolicyViolation::ForeignSourceHost).index();
    assert_eq!(total.dropped[violation], 1);
    assert_eq!(total.sent(), 0);
}

#[test]
fn an_interface_without_a_router_is_reported_to_the_client() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(router.address()))));
    let mut client = gateway.client();
    client.send(&to_remote(client.address(), 8));

    let answer = client.receive();
    let answer = ScionPacket::parse(&answer).unwrap();
    // Parameter problem (4), unknown interface in construction direction (50).
    assert_eq!(answer.payload()[..2], [4, 50]);

    let total = gateway.stop();
    assert_eq!(
        total.dropped[DropReason::Route(RouteError::NoNextHop).index()],
        1
    );
}

#[test]
fn a_packet_from_scion_for_nobody_is_a_counted_drop() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(router.address()))));
    let internal = gateway.gateway.internal_addr().unwrap();
    for packet in answers_to("192.0.2.1:9".parse().unwrap()) {
        router.socket.send_to(&packet, internal).unwrap();
    }
    let no_tunnel = DropReason::Tunnel(snaptun::DropReason::NoTunnel).index();
    gateway.wait_for("three drops", |total| total.dropped[no_tunnel] == 3);
}

/// The kernel sends to a router that answers with "port unreachable" (ICMP) as to any other. The gateway has not
/// asked for these answers: they would be errors of the one socket for all routers, and anybody can make them up.
#[test]
fn a_router_that_refuses_disturbs_nobody_and_is_served_when_it_is_back() {
    let address = own_address(9);
    let (refusing, other) = (Router::bind_to(address), Router::bind());
    let mut forward = scion(address);
    let far = (LOCAL.parse().unwrap(), 8);
    forward.next_hops.insert(far, other.address());
    let gateway = TestGateway::start(&config(Forward::Scion(forward)));
    let mut client = gateway.client();
    client.send(&to_remote(client.address(), 7));
    assert_eq!(refusing.receive(), to_remote(client.address(), 7));

    drop(refusing);
    for _ in 0..50 {
        client.send(&to_remote(client.address(), 7));
        client.send(&to_remote(client.address(), 8));
        assert_eq!(other.receive(), to_remote(client.address(), 8));
    }

    let back = Router::bind_to(address);
    client.send(&to_remote(client.address(), 7));
    assert_eq!(back.receive(), to_remote(client.address(), 7));
    let internal = gateway.gateway.internal_addr().unwrap();
    back.socket
        .send_to(&from_remote(client.address()), internal)
        .unwrap();
    assert_eq!(client.receive(), from_remote(client.address()));
    let total = gateway.stop();
    assert_eq!(
        (total.sent_incoming_packets, total.total_dropped()),
        (102, 0)
    );
}

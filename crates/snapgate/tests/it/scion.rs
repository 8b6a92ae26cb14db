//! `--forward scion`: routers, hairpins, endhosts, and rejected packets.

use std::net::SocketAddr;

use scion_packet::scmp::UnreachableCode;
use scion_packet::{PolicyViolation, ScionPacket, ScmpError};
use snapgate::config::{Dispatch, Forward};
use snapgate::drop_reason::{DropReason, RouteError};
use testkit::gateway::{TestGateway, config, scion, workers};
use testkit::packets::{FAR_HOST, arriving_at, from_remote, local, packet, to_remote, within_as};
use testkit::{Client, Router, own_address};

/// Packets from a far host that a client must receive: UDP, SCMP echo reply, SCMP error.
fn answers_to(client: SocketAddr) -> Vec<Vec<u8>> {
    let here = local(client.ip());
    let builder = arriving_at(here);
    let reply = packet(|out| builder.append_echo_reply(client.port(), 1, b"ping", out));
    let unreachable = ScmpError::DestinationUnreachable {
        code: UnreachableCode::AddressUnreachable,
    };
    let mut error = Vec::new();
    unreachable.append(FAR_HOST, here, &to_remote(client, 7), &mut error);
    vec![from_remote(client), reply, error]
}

#[test]
fn packets_reach_the_router_byte_for_byte_and_answers_come_back() {
    for dispatch in [Dispatch::Kernel, Dispatch::User] {
        let router = Router::bind();
        let mut config = config(Forward::Scion(scion(&[(7, router.address())])));
        config.dispatch = dispatch;
        let gateway = TestGateway::start(&config);
        let internal = gateway.internal_address();

        // Enough that user dispatch certainly brings one to the wrong worker (1 - 2^-32).
        for _ in 0..32 {
            let mut client = gateway.client();
            let packet = to_remote(client.address(), 7);
            client.send(&packet);
            assert_eq!(router.receive(), packet);
            for answer in answers_to(client.address()) {
                router.send_to(&answer, internal);
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
fn padding_after_the_payload_is_removed() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(&[(7, router.address())]))));
    let mut client = gateway.client();
    let packet = to_remote(client.address(), 7);
    let mut padded = packet.clone();
    padded.resize(packet.len().next_multiple_of(16) + 16, 0);
    client.send(&padded);
    assert_eq!(router.receive(), packet);
}

#[test]
fn clients_reach_each_other_within_and_between_workers() {
    let router = Router::bind();
    let mut config = config(Forward::Scion(scion(&[(7, router.address())])));
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
        let mut forward = scion(&[(7, host.address())]);
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
    let gateway = TestGateway::start(&config(Forward::Scion(scion(&[(7, router.address())]))));
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
    let gateway = TestGateway::start(&config(Forward::Scion(scion(&[(7, router.address())]))));
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
fn a_packet_from_scion_without_a_tunnel_is_a_counted_drop() {
    let router = Router::bind();
    let gateway = TestGateway::start(&config(Forward::Scion(scion(&[(7, router.address())]))));
    let internal = gateway.internal_address();
    for packet in answers_to("192.0.2.1:9".parse().unwrap()) {
        router.send_to(&packet, internal);
    }
    let no_tunnel = DropReason::Tunnel(snaptun::DropReason::NoTunnel).index();
    gateway.wait_for("three drops", |total| total.dropped[no_tunnel] == 3);
}

/// The kernel sends to a router that answers with "port unreachable" (ICMP) as to any other. The gateway does not ask
/// for these errors: they would be errors of the one socket for all routers, and can be forged by anyone.
#[test]
fn a_router_that_refuses_packets_does_not_affect_others_and_can_return() {
    let address = own_address();
    let (refusing, other) = (Router::bind_to(address), Router::bind());
    let forward = scion(&[(7, address), (8, other.address())]);
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
    let internal = gateway.internal_address();
    back.send_to(&from_remote(client.address()), internal);
    assert_eq!(client.receive(), from_remote(client.address()));
    let total = gateway.stop();
    assert_eq!(
        (total.sent_incoming_packets, total.total_dropped()),
        (102, 0)
    );
}

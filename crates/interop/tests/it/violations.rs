//! Tests of SCMP errors about packets that violate the policy, read with the SCION library of clients.

use std::net::{IpAddr, Ipv4Addr};

use scion_packet::build::PacketBuilder;
use scion_packet::scmp::UnreachableCode;
use scion_packet::{PolicyViolation, ScionPacket, ScmpError};
use sciparse::core::view::View as _;
use sciparse::packet::view::ScionRawPacketView;
use sciparse::payload::scmp::view::ScmpMessageView;
use snapgate::drop_reason::{DropReason, RouteError};
use snapgate_interop::{Router, Scenario, SnapTunClient, TestGateway, in_every_scenario};
use testkit::packets::{FAR_PORT, LOCAL, leaving_by, local, packet};

const OTHER_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

/// Offset of the host addresses, after the ISD-AS numbers (SCION header specification).
const HOSTS_OFFSET: u16 = 28;

in_every_scenario!(
    a_packet_with_a_foreign_source_host_is_answered_with_code_33,
    a_packet_with_a_foreign_source_port_is_answered_with_code_33,
    a_packet_for_an_interface_without_a_router_is_answered_with_code_50,
    an_scmp_error_about_a_packet_to_another_host_is_dropped,
);

async fn a_packet_with_a_foreign_source_host_is_answered_with_code_33(scenario: Scenario) {
    let TestBed {
        router,
        gateway,
        client,
    } = TestBed::start(scenario).await;
    let port = client.address().port();
    let path = leaving_by(1, local(OTHER_HOST));
    let forged = packet(|out| path.append_udp(port, FAR_PORT, b"forged", out));

    client.send(&forged).await;

    // The source host follows the destination host, an IPv4 address.
    expect_parameter_problem(&client, &forged, 33, HOSTS_OFFSET + 4).await;
    expect_only_good_packets(&gateway, &router, &client).await;
    let total = gateway.finish();
    let reason = DropReason::Policy(PolicyViolation::ForeignSourceHost);
    assert_eq!(
        (total.total_dropped(), total.dropped[reason.index()]),
        (1, 1)
    );
}

async fn a_packet_with_a_foreign_source_port_is_answered_with_code_33(scenario: Scenario) {
    let TestBed {
        router,
        gateway,
        client,
    } = TestBed::start(scenario).await;
    let port = client.address().port() ^ 1;
    let path = leaving_by(1, client.scion_address());
    let forged = packet(|out| path.append_udp(port, FAR_PORT, b"forged", out));
    let port_offset = ScionPacket::parse(&forged).unwrap().header_len() as u16;

    client.send(&forged).await;

    expect_parameter_problem(&client, &forged, 33, port_offset).await;
    expect_only_good_packets(&gateway, &router, &client).await;
    let total = gateway.finish();
    let reason = DropReason::Policy(PolicyViolation::ForeignSourcePort);
    assert_eq!(
        (total.total_dropped(), total.dropped[reason.index()]),
        (1, 1)
    );
}

async fn a_packet_for_an_interface_without_a_router_is_answered_with_code_50(scenario: Scenario) {
    let TestBed {
        router,
        gateway,
        client,
    } = TestBed::start(scenario).await;
    let port = client.address().port();
    let path = leaving_by(9, client.scion_address());
    let lost = packet(|out| path.append_udp(port, FAR_PORT, b"lost", out));
    let view = ScionPacket::parse(&lost).unwrap();
    // Meta header and one info field precede the hop field.
    let hop_field_offset = view.path_offset() as u16 + 4 + 8;

    client.send(&lost).await;

    expect_parameter_problem(&client, &lost, 50, hop_field_offset).await;
    expect_only_good_packets(&gateway, &router, &client).await;
    let total = gateway.finish();
    let reason = DropReason::Route(RouteError::NoNextHop);
    assert_eq!(
        (total.total_dropped(), total.dropped[reason.index()]),
        (1, 1)
    );
}

async fn an_scmp_error_about_a_packet_to_another_host_is_dropped(scenario: Scenario) {
    let TestBed {
        router,
        gateway,
        client,
    } = TestBed::start(scenario).await;
    let victim = SnapTunClient::connect(&gateway).await;
    let to_victim = |quote: &[u8]| {
        let unreachable = ScmpError::DestinationUnreachable {
            code: UnreachableCode::PortUnreachable,
        };
        let (from, to) = (client.scion_address(), victim.scion_address());
        let mut error = Vec::new();
        unreachable.append(from, to, quote, &mut error);
        error
    };
    let port = victim.address().port();
    let to_far_host = leaving_by(1, victim.scion_address());
    let elsewhere = packet(|out| to_far_host.append_udp(port, FAR_PORT, b"not yours", out));
    let to_client = PacketBuilder::new(victim.scion_address(), client.scion_address());
    let own_port = client.address().port();
    let here = packet(|out| to_client.append_udp(port, own_port, b"yours", out));

    client.send(&to_victim(&elsewhere)).await;
    client.send(&to_victim(&here)).await;

    assert_eq!(victim.receive().await, to_victim(&here));
    expect_only_good_packets(&gateway, &router, &client).await;
    let total = gateway.finish();
    let reason = DropReason::Policy(PolicyViolation::ForeignQuote);
    assert_eq!(
        (total.total_dropped(), total.dropped[reason.index()]),
        (1, 1)
    );
}

/// A client of a gateway with a router behind interface 1.
struct TestBed {
    router: Router,
    gateway: TestGateway,
    client: SnapTunClient,
}

impl TestBed {
    async fn start(scenario: Scenario) -> Self {
        let router = Router::start(scenario).await;
        let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
        let client = SnapTunClient::connect(&gateway).await;
        Self {
            router,
            gateway,
            client,
        }
    }
}

/// Waits for an SCMP error at the client, and parses it with the SCION library of clients.
async fn expect_parameter_problem(client: &SnapTunClient, offender: &[u8], code: u8, pointer: u16) {
    let answer = client.receive().await;
    let (packet, rest) = ScionRawPacketView::try_from_slice(&answer).unwrap();
    assert!(rest.is_empty());
    let home = LOCAL.to_string();
    assert_eq!(packet.header().src_ia().to_string(), home);
    assert_eq!(packet.header().dst_ia().to_string(), home);
    let destination = packet.header().dst_host_addr().unwrap();
    assert_eq!(destination.ip(), Some(client.address().ip()));

    let ScmpMessageView::ParameterProblem(problem) = packet.try_as_scmp().unwrap().scmp().message()
    else {
        panic!("{packet:?}");
    };
    assert_eq!(
        (u8::from(problem.code()), problem.pointer()),
        (code, pointer)
    );
    assert_eq!(problem.offending_packet(), offender);
}

/// Asserts that the router has received no packet so far: it receives the packet sent here first.
async fn expect_only_good_packets(gateway: &TestGateway, router: &Router, client: &SnapTunClient) {
    let path = leaving_by(1, client.scion_address());
    let port = client.address().port();
    let good = packet(|out| path.append_udp(port, FAR_PORT, b"good", out));
    client.send(&good).await;
    assert_eq!(router.receive_from(gateway).await, good);
}

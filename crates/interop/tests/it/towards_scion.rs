//! Tests of packets from tunnels to routers.

use snapgate_interop::{Router, Scenario, SnapTunClient, TestGateway, in_every_scenario};
use testkit::packets::{
    Extensions, FAR_PORT, leaving_by, leaving_upwards_by, packet, with_extensions,
};

/// Payload lengths from 0 to nearly the maximum for a tunnel over Ethernet.
const PAYLOAD_BYTES: [usize; 4] = [0, 1, 100, 1300];

in_every_scenario!(
    a_packet_leaves_through_the_router_of_its_first_interface,
    scmp_messages_and_extension_headers_are_forwarded_unchanged,
    a_burst_leaves_in_order,
);

async fn a_packet_leaves_through_the_router_of_its_first_interface(scenario: Scenario) {
    let north = Router::start(scenario).await;
    let south = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario)
        .next_hop(1, &north)
        .next_hop(2, &north)
        .next_hop(3, &south)
        .start();
    let client = SnapTunClient::connect(&gateway).await;
    let source = client.scion_address();
    let port = client.address().port();

    let mut packets = 0;
    for (interface, router) in [(1, &north), (2, &north), (3, &south)] {
        for paths in [
            leaving_by(interface, source),
            leaving_upwards_by(interface, source),
        ] {
            for payload_bytes in PAYLOAD_BYTES {
                let payload = vec![interface as u8; payload_bytes];
                let sent = packet(|out| paths.append_udp(port, FAR_PORT, &payload, out));
                client.send(&sent).await;
                assert_eq!(router.receive_from(&gateway).await, sent);
                packets += 1;
            }
        }
    }

    let total = gateway.finish();
    assert_eq!(total.sent_incoming_packets, packets);
    assert_eq!(total.total_dropped(), 0);
}

async fn scmp_messages_and_extension_headers_are_forwarded_unchanged(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let client = SnapTunClient::connect(&gateway).await;
    let port = client.address().port();
    let path = leaving_by(1, client.scion_address());

    let udp = packet(|out| path.append_udp(port, FAR_PORT, b"question", out));
    let request = packet(|out| path.append_echo_request(port, 7, b"ping", out));
    // An echo reply has the identifier of the remote host.
    let reply = packet(|out| path.append_echo_reply(FAR_PORT, 7, b"pong", out));
    for bare in [udp, request, reply] {
        for extensions in Extensions::ALL {
            let sent = with_extensions(&path, &bare, extensions);
            client.send(&sent).await;
            assert_eq!(router.receive_from(&gateway).await, sent, "{extensions:?}");
        }
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

async fn a_burst_leaves_in_order(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let client = SnapTunClient::connect(&gateway).await;
    let port = client.address().port();
    let path = leaving_by(1, client.scion_address());

    let burst: Vec<_> = (0..32)
        .map(|number| packet(|out| path.append_udp(port, FAR_PORT, &[number; 1200], out)))
        .collect();
    for sent in &burst {
        client.send(sent).await;
    }
    for sent in &burst {
        assert_eq!(router.receive_from(&gateway).await, *sent);
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

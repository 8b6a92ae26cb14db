//! Tests of padding, which the newest clients add and the gateway removes.

use scion_packet::build::PacketBuilder;
use snapgate_interop::{Router, Scenario, SnapTunClient, TestGateway, in_every_scenario};
use snaptun::protocol::DATA_OVERHEAD_BYTES;
use testkit::Client;
use testkit::packets::{FAR_PORT, leaving_by, local, packet};

in_every_scenario!(
    a_padded_packet_is_trimmed_for_the_router,
    a_padded_packet_is_trimmed_for_another_client,
);

async fn a_padded_packet_is_trimmed_for_the_router(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let mut client = gateway.client();
    let port = client.address().port();
    let path = leaving_by(1, local(client.address().ip()));

    // Every remainder of 16.
    for payload_bytes in 100..116 {
        let payload = vec![0xa5; payload_bytes];
        let sent = packet(|out| path.append_udp(port, FAR_PORT, &payload, out));
        send_padded(&mut client, &sent);
        assert_eq!(router.receive_from(&gateway).await, sent);
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

async fn a_padded_packet_is_trimmed_for_another_client(scenario: Scenario) {
    let gateway = TestGateway::start(scenario);
    let mut from = gateway.client();
    let to = SnapTunClient::connect(&gateway).await;
    let between = PacketBuilder::new(local(from.address().ip()), to.scion_address());

    for payload_bytes in 100..116 {
        let payload = vec![0xa5; payload_bytes];
        let ports = (from.address().port(), to.address().port());
        let sent = packet(|out| between.append_udp(ports.0, ports.1, &payload, out));
        send_padded(&mut from, &sent);
        assert_eq!(to.receive().await, sent);
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

fn send_padded(client: &mut Client, packet: &[u8]) {
    let datagram = client.tunnel().encrypt_padded(packet);
    let padded = packet.len().next_multiple_of(16);
    assert_eq!(datagram.len(), padded + DATA_OVERHEAD_BYTES);
    client.send_datagram(&datagram);
}

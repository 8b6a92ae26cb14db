//! The newest clients pad what they send; nobody behind the gateway sees that.

use scion_packet::build::PacketBuilder;
use snapgate_interop::packets::{FAR_PORT, at_home, leaving_by, packet};
use snapgate_interop::{
    GotatunClient, Router, Scenario, SnapTunClient, TestGateway, in_every_scenario,
};

in_every_scenario!(
    a_padded_packet_is_trimmed_for_the_router,
    a_padded_packet_is_trimmed_for_another_client,
);

async fn a_padded_packet_is_trimmed_for_the_router(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let mut client = GotatunClient::connect(&gateway).await;
    let port = client.address().port();
    let path = leaving_by(1, at_home(client.address().ip()));

    // Every remainder of 16.
    for payload_bytes in 100..116 {
        let payload = vec![0xa5; payload_bytes];
        let sent = packet(|out| path.append_udp(port, FAR_PORT, &payload, out));
        assert_eq!(client.send(&sent).await, sent.len().next_multiple_of(16));
        assert_eq!(router.receive_from(&gateway).await, sent);
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

async fn a_padded_packet_is_trimmed_for_another_client(scenario: Scenario) {
    let gateway = TestGateway::start(scenario);
    let mut from = GotatunClient::connect(&gateway).await;
    let to = SnapTunClient::connect(&gateway).await;
    let between = PacketBuilder::new(at_home(from.address().ip()), to.scion_address());

    for payload_bytes in 100..116 {
        let payload = vec![0xa5; payload_bytes];
        let ports = (from.address().port(), to.address().port());
        let sent = packet(|out| between.append_udp(ports.0, ports.1, &payload, out));
        assert_eq!(from.send(&sent).await, sent.len().next_multiple_of(16));
        assert_eq!(to.receive().await, sent);
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

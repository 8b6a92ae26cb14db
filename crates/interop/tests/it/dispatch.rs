//! Tests of kernel and user dispatch, which clients cannot tell apart.

use scion_packet::build::PacketBuilder;
use snapgate::config::Dispatch;
use snapgate_interop::{Router, Scenario, SnapTunClient, TestGateway, in_every_scenario};
use testkit::packets::{FAR_HOST, FAR_PORT, leaving_by, packet};

/// Number of clients. With user dispatch, a run has no handover with a probability of 2^-32.
const CLIENTS: usize = 32;

in_every_scenario!(many_clients_are_served_by_both_workers);

async fn many_clients_are_served_by_both_workers(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(SnapTunClient::connect(&gateway).await);
    }
    for client in &clients {
        let port = client.address().port();
        let path = leaving_by(1, client.scion_address());
        let question = packet(|out| path.append_udp(port, FAR_PORT, &port.to_be_bytes(), out));
        client.send(&question).await;
        assert_eq!(router.receive_from(&gateway).await, question);
    }
    for client in &clients {
        let port = client.address().port();
        let back = PacketBuilder::new(FAR_HOST, client.scion_address());
        let answer = packet(|out| back.append_udp(FAR_PORT, port, &port.to_be_bytes(), out));
        router.send_to(&gateway, &answer).await;
        assert_eq!(client.receive().await, answer);
    }

    let clients = CLIENTS as u64;
    assert!(gateway.counters().iter().all(|worker| worker.tunnels > 0));
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.tunnels_created,
            total.shard.handshakes_answered()
        ),
        (clients, clients)
    );
    assert_eq!(
        (total.sent_incoming_packets, total.sent_outgoing_packets),
        (clients, clients)
    );
    assert_eq!(total.total_dropped(), 0);
    match scenario.dispatch {
        Dispatch::Kernel => assert_eq!(total.handovers, 0),
        Dispatch::User => assert!(total.handovers > 0),
    }
}

//! Tests of a gateway on the wildcard address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use scion_packet::build::PacketBuilder;
use snapgate_interop::{Router, Scenario, SnapTunClient, TestGateway, in_every_scenario};
use testkit::packets::{FAR_HOST, FAR_PORT, packet};

in_every_scenario!(answers_come_from_the_address_that_the_client_sends_to);

/// A client drops datagrams from other addresses than the one it sends to. By default the kernel would answer from
/// 127.0.0.1.
async fn answers_come_from_the_address_that_the_client_sends_to(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario)
        .listen(&[scenario.wildcard()])
        .next_hop(1, &router)
        .start();

    for address in addresses(scenario) {
        let listen = SocketAddr::new(address, gateway.listen_address().port());
        let client = SnapTunClient::connect_to(&gateway, listen).await;

        let port = client.address().port();
        let to_client = PacketBuilder::new(FAR_HOST, client.scion_address());
        let sent = packet(|out| to_client.append_udp(FAR_PORT, port, b"hello", out));
        router.send_to(&gateway, &sent).await;
        assert_eq!(client.receive().await, sent, "{address}");
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

/// Returns addresses of loopback; IPv6 has only one.
fn addresses(scenario: Scenario) -> Vec<IpAddr> {
    match scenario.loopback {
        IpAddr::V4(_) => [2, 3, 1]
            .map(|last| Ipv4Addr::new(127, 0, 0, last).into())
            .to_vec(),
        IpAddr::V6(_) => vec![Ipv6Addr::LOCALHOST.into()],
    }
}

//! Tests of a gateway that echoes packets.

use snapgate::config::Forward;
use snapgate_interop::{Scenario, SnapTunClient, TestGateway, in_every_scenario};

in_every_scenario!(echoed_packets_return_to_their_client);

async fn echoed_packets_return_to_their_client(scenario: Scenario) {
    let gateway = TestGateway::setup(scenario).forward(Forward::Echo).start();
    let client = SnapTunClient::connect(&gateway).await;

    for bytes in [1, 15, 16, 17, 1400] {
        let sent = vec![0x5a; bytes];
        client.send(&sent).await;
        assert_eq!(client.receive().await, sent);
    }

    let total = gateway.finish();
    assert_eq!((total.sent_outgoing_packets, total.total_dropped()), (5, 0));
}

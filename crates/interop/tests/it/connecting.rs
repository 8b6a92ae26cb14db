//! Tests of connecting.

use snapgate_interop::{Scenario, SnapTunClient, TestGateway, in_every_scenario};

in_every_scenario!(client_learns_its_observed_address);

async fn client_learns_its_observed_address(scenario: Scenario) {
    let gateway = TestGateway::start(scenario);

    let client = SnapTunClient::connect(&gateway).await;

    assert_eq!(client.address(), client.socket_address());
    gateway.until("a tunnel", |total| total.tunnels == 1).await;
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.tunnels_created,
            total.shard.handshakes_answered()
        ),
        (1, 1)
    );
}

/// The client sends the cookie with its next initiation, 5 s later.
#[tokio::test]
async fn client_connects_to_a_gateway_that_demands_cookies() {
    let scenario = Scenario::IPV4_KERNEL;
    let gateway = TestGateway::setup(scenario).demand_cookies().start();

    let client = SnapTunClient::connect(&gateway).await;

    assert_eq!(client.address(), client.socket_address());
    gateway.until("a tunnel", |total| total.tunnels == 1).await;
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.cookie_replies_sent(),
            total.shard.handshakes_answered()
        ),
        (1, 1)
    );
}

//! A client gets its tunnel.

use snapgate_interop::{Scenario, SnapTunClient, TestGateway, in_every_scenario};

in_every_scenario!(a_client_learns_the_address_that_it_is_seen_at);

async fn a_client_learns_the_address_that_it_is_seen_at(scenario: Scenario) {
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

/// The client takes the cookie, and proves with its next initiation, 5 s later, that it receives
/// where it says it is.
#[tokio::test]
async fn a_client_connects_to_a_gateway_that_demands_cookies() {
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

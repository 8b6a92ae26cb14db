//! Tests of keepalives, which are not forwarded.

use snapgate::config::Forward;
use snapgate_interop::{Scenario, SnapTunClient, TestGateway};

/// A client sends a keepalive after the handshake, and another after 10 s.
#[tokio::test]
async fn keepalives_of_an_idle_client_do_not_reach_the_sink() {
    let scenario = Scenario::IPV4_KERNEL;
    let gateway = TestGateway::setup(scenario).forward(Forward::Sink).start();
    let _client = SnapTunClient::connect(&gateway).await;

    gateway
        .until("two keepalives", |total| total.delivered_keepalives == 2)
        .await;

    let total = gateway.finish();
    assert_eq!((total.delivered_to_sink, total.total_dropped()), (0, 0));
}

#[tokio::test]
async fn keepalives_of_an_idle_client_do_not_enter_scion() {
    let scenario = Scenario::IPV6_USER;
    let gateway = TestGateway::start(scenario);
    let _client = SnapTunClient::connect(&gateway).await;

    gateway
        .until("two keepalives", |total| total.delivered_keepalives == 2)
        .await;

    let total = gateway.finish();
    assert_eq!((total.sent(), total.total_dropped()), (0, 0));
}

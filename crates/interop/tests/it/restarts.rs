//! Tests of restarted clients and gateways, and of ports that change hands.

use std::time::{Duration, Instant};

use scion_packet::build::PacketBuilder;
use snapgate::drop_reason::DropReason;
use snapgate_interop::{
    Router, Scenario, SnapTunClient, TestGateway, free_socket, in_every_scenario, private_key,
};
use testkit::packets::{FAR_HOST, FAR_PORT, leaving_by, local, packet};
use testkit::{Tunnel, TunnelEvent, identity, own_address};

const ADDRESS_HELD: DropReason = DropReason::Tunnel(snaptun::DropReason::AddressHeld);

in_every_scenario!(
    a_client_that_restarts_on_its_port_is_served_at_once,
    another_identity_on_an_occupied_port_gets_nothing,
    a_client_does_not_notice_another_identity_on_its_port,
);

async fn a_client_that_restarts_on_its_port_is_served_at_once(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let listen = gateway.listen_address();
    let identity = private_key();
    let socket = free_socket(listen).await;
    let client = SnapTunClient::connect_as(&gateway, listen, &identity, socket).await;
    exchange(&gateway, &router, &client).await;

    let socket = client.stop().await;
    let client = SnapTunClient::connect_as(&gateway, listen, &identity, socket).await;

    exchange(&gateway, &router, &client).await;
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.tunnels_created,
            total.shard.handshakes_answered()
        ),
        (1, 2)
    );
    assert_eq!(total.total_dropped(), 0);
}

async fn another_identity_on_an_occupied_port_gets_nothing(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let mut holder = gateway.client();
    until_confirmed(&gateway).await;

    holder.send_datagram(&initiation_of_another(&gateway));
    gateway.until_dropped(ADDRESS_HELD, 1).await;

    // The next datagram to the port is for the holder, in its old session.
    let to_holder = PacketBuilder::new(FAR_HOST, local(holder.address().ip()));
    let port = holder.address().port();
    let sent = packet(|out| to_holder.append_udp(FAR_PORT, port, b"for the holder", out));
    router.send_to(&gateway, &sent).await;
    let next = holder.receive_datagram().unwrap();
    let TunnelEvent::Packet(received) = holder.tunnel().handle(&next) else {
        panic!("not a packet for the holder: {next:?}");
    };
    assert_eq!(received, sent);
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.tunnels_created,
            total.shard.handshakes_answered()
        ),
        (1, 1)
    );
}

async fn a_client_does_not_notice_another_identity_on_its_port(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let listen = gateway.listen_address();
    let socket = free_socket(listen).await;
    let client = SnapTunClient::connect_as(&gateway, listen, &private_key(), socket.clone()).await;
    until_confirmed(&gateway).await;

    let initiation = initiation_of_another(&gateway);
    socket.send_to(&initiation, listen).await.unwrap();
    gateway.until_dropped(ADDRESS_HELD, 1).await;

    exchange(&gateway, &router, &client).await;
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.tunnels_created,
            total.shard.handshakes_answered()
        ),
        (1, 1)
    );
}

/// NAT assigns the port of a client that has gone to another client, which is asked for a cookie and sends it with its
/// next initiation, 5 s later.
#[tokio::test]
async fn another_identity_gets_the_port_of_a_client_that_has_gone() {
    const SILENCE: Duration = Duration::from_secs(1);
    let scenario = Scenario::IPV4_KERNEL;
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario)
        .silent_after(SILENCE)
        .next_hop(1, &router)
        .start();
    let client = SnapTunClient::connect(&gateway).await;
    exchange(&gateway, &router, &client).await;
    let socket = client.stop().await;
    tokio::time::sleep(SILENCE).await;

    let listen = gateway.listen_address();
    let began = Instant::now();
    let client = SnapTunClient::connect_as(&gateway, listen, &private_key(), socket).await;
    exchange(&gateway, &router, &client).await;
    println!(
        "the next client of a port was served after {:?}",
        began.elapsed()
    );

    let total = gateway.finish();
    assert_eq!(
        (total.shard.tunnels_created, total.shard.tunnels_replaced),
        (2, 1)
    );
    assert_ne!(total.shard.cookies_demanded_takeover, 0);
}

/// A gateway without a state directory forgets its tunnels when it restarts. A client that has sent a packet and
/// received nothing for 15 s (WireGuard whitepaper, section 6.5: Keepalive-Timeout + Rekey-Timeout) begins a handshake,
/// and keeps its address.
#[tokio::test]
async fn a_client_reconnects_to_its_restarted_gateway() {
    let scenario = Scenario::IPV4_KERNEL;
    let router = Router::start(scenario).await;
    let key = private_key();
    let setup = |listen| {
        TestGateway::setup(scenario)
            .private_key(key.clone())
            .listen(&[listen])
            .next_hop(1, &router)
    };
    let gateway = setup(own_address()).start();
    let listen = gateway.listen_address();
    let client = SnapTunClient::connect(&gateway).await;
    exchange(&gateway, &router, &client).await;

    gateway.finish();
    let gateway = setup(listen).start();
    client.send(&question(&client)).await;

    // The keepalive confirms the new session.
    gateway
        .until("the client's return", |total| {
            total.delivered_keepalives > 0
        })
        .await;
    exchange(&gateway, &router, &client).await;
    let total = gateway.finish();
    assert_eq!(
        (
            total.shard.tunnels_created,
            total.shard.handshakes_answered()
        ),
        (1, 1)
    );
}

/// Returns a handshake initiation of a new identity.
fn initiation_of_another(gateway: &TestGateway) -> Vec<u8> {
    Tunnel::new(identity(), gateway.listen_address(), gateway.public_key()).initiate()
}

/// Waits for the keepalive after a handshake: before it, another identity may take over the address.
async fn until_confirmed(gateway: &TestGateway) {
    gateway
        .until("a keepalive", |total| total.delivered_keepalives > 0)
        .await;
}

/// Sends a packet from the client to the router, and one back.
async fn exchange(gateway: &TestGateway, router: &Router, client: &SnapTunClient) {
    let question = question(client);
    client.send(&question).await;
    assert_eq!(router.receive_from(gateway).await, question);

    let to_client = PacketBuilder::new(FAR_HOST, client.scion_address());
    let port = client.address().port();
    let answer = packet(|out| to_client.append_udp(FAR_PORT, port, b"answer", out));
    router.send_to(gateway, &answer).await;
    assert_eq!(client.receive().await, answer);
}

fn question(client: &SnapTunClient) -> Vec<u8> {
    let port = client.address().port();
    let path = leaving_by(1, client.scion_address());
    packet(|out| path.append_udp(port, FAR_PORT, b"question", out))
}

//! Tests of identities that are removed from the list while their client sends.

use std::time::{Duration, Instant};

use scion_packet::build::PacketBuilder;
use snapgate::drop_reason::DropReason;
use snapgate::identities::Identity;
use snapgate::keys::PrivateKey;
use snapgate_interop::{
    Router, Scenario, SnapTunClient, TestGateway, free_socket, in_every_scenario, private_key,
};
use testkit::packets::{FAR_HOST, FAR_PORT, leaving_by, packet};

const NO_TUNNEL: DropReason = DropReason::Tunnel(snaptun::DropReason::NoTunnel);
const UNAUTHORIZED: DropReason = DropReason::Tunnel(snaptun::DropReason::Unauthorized);

in_every_scenario!(
    a_revoked_client_is_cut_off_and_its_port_becomes_free,
    a_client_whose_identity_is_restored_is_served_at_once,
);

/// Seconds for which the client sends without a grant.
const SECONDS_WITHOUT_GRANT: u64 = 5;

/// Upper bound of the time to service. Clients that detect the loss of their session themselves take 13 to 15 s.
const SERVED_AGAIN_WITHIN: Duration = Duration::from_secs(5);

async fn a_client_whose_identity_is_restored_is_served_at_once(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let [lapsed, other] = [private_key(), private_key()];
    let gateway = TestGateway::setup(scenario)
        .only(&identities(&[&lapsed, &other]))
        .next_hop(1, &router)
        .start();
    let client = connect(&gateway, &lapsed).await;
    exchange(&gateway, &router, &client).await;

    gateway.replace_identities(&identities(&[&other]));
    gateway
        .until("the revocation", |total| total.shard.tunnels_revoked == 1)
        .await;
    for second in 1..=SECONDS_WITHOUT_GRANT {
        client.send(&question(&client)).await;
        router.send_to(&gateway, &answer(&client)).await;
        gateway.until_dropped(UNAUTHORIZED, second).await;
        gateway.until_dropped(NO_TUNNEL, second).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(client.has_received_everything());

    gateway.replace_identities(&identities(&[&lapsed, &other]));
    let back = Instant::now();
    // The client sends nothing: the gateway initiates the handshake.
    gateway
        .until("the handshake", |total| {
            total.shard.restart_handshakes_completed == 1
        })
        .await;
    let took = back.elapsed();
    assert!(took < SERVED_AGAIN_WITHIN, "{took:?}");
    assert!(client.has_received_everything());
    // The client uses its old session until it has received a packet in the new one.
    router.send_to(&gateway, &answer(&client)).await;
    assert_eq!(client.receive().await, answer(&client));
    exchange(&gateway, &router, &client).await;
    gateway.finish();
}

async fn a_revoked_client_is_cut_off_and_its_port_becomes_free(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let [revoked, other, newcomer] = [private_key(), private_key(), private_key()];
    let gateway = TestGateway::setup(scenario)
        .only(&identities(&[&revoked, &other]))
        .next_hop(1, &router)
        .start();
    let (revoked_client, other_client) = (
        connect(&gateway, &revoked).await,
        connect(&gateway, &other).await,
    );
    for client in [&revoked_client, &other_client] {
        exchange(&gateway, &router, client).await;
    }

    gateway.replace_identities(&identities(&[&other, &newcomer]));
    gateway
        .until("the revocation", |total| total.shard.tunnels_revoked == 1)
        .await;
    revoked_client.send(&question(&revoked_client)).await;
    router.send_to(&gateway, &answer(&revoked_client)).await;
    gateway.until_dropped(UNAUTHORIZED, 1).await;
    gateway.until_dropped(NO_TUNNEL, 1).await;
    assert!(revoked_client.has_received_everything());
    exchange(&gateway, &router, &other_client).await;

    let socket = revoked_client.stop().await;
    let listen = gateway.listen_address();
    let newcomer = SnapTunClient::connect_as(&gateway, listen, &newcomer, socket).await;
    exchange(&gateway, &router, &newcomer).await;
    gateway.finish();
}

fn identities(keys: &[&PrivateKey]) -> Vec<Identity> {
    keys.iter()
        .map(|key| Identity {
            public_key: key.public_key(),
            name: None,
            expires: None,
        })
        .collect()
}

async fn connect(gateway: &TestGateway, identity: &PrivateKey) -> SnapTunClient {
    let listen = gateway.listen_address();
    let socket = free_socket(listen).await;
    SnapTunClient::connect_as(gateway, listen, identity, socket).await
}

/// Sends a packet from the client to the router, and one back.
async fn exchange(gateway: &TestGateway, router: &Router, client: &SnapTunClient) {
    let (question, answer) = (question(client), answer(client));
    client.send(&question).await;
    assert_eq!(router.receive_from(gateway).await, question);
    router.send_to(gateway, &answer).await;
    assert_eq!(client.receive().await, answer);
}

fn question(client: &SnapTunClient) -> Vec<u8> {
    let port = client.address().port();
    let path = leaving_by(1, client.scion_address());
    packet(|out| path.append_udp(port, FAR_PORT, b"question", out))
}

fn answer(client: &SnapTunClient) -> Vec<u8> {
    let to_client = PacketBuilder::new(FAR_HOST, client.scion_address());
    let port = client.address().port();
    packet(|out| to_client.append_udp(FAR_PORT, port, b"answer", out))
}

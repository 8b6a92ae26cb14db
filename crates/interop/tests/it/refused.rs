//! Tests of unauthorized identities, which get no answer.

use std::net::SocketAddr;

use jiff::Timestamp;
use snapgate::drop_reason::DropReason;
use snapgate::identities::Identity;
use snapgate::keys::{PrivateKey, PublicKey};
use snapgate_interop::{
    Scenario, SnapTunClient, TestGateway, free_socket, in_every_scenario, private_key,
};
use testkit::Client;

const UNAUTHORIZED: DropReason = DropReason::Tunnel(snaptun::DropReason::Unauthorized);

in_every_scenario!(
    an_unknown_identity_gets_no_answer_and_no_tunnel,
    an_expired_identity_gets_no_answer_and_no_tunnel,
);

async fn an_unknown_identity_gets_no_answer_and_no_tunnel(scenario: Scenario) {
    let member = private_key();
    let identities = [identity(member.public_key(), None)];
    let gateway = TestGateway::setup(scenario).only(&identities).start();
    only_member_is_answered(&gateway, &private_key(), &member).await;
    gateway.finish();
}

async fn an_expired_identity_gets_no_answer_and_no_tunnel(scenario: Scenario) {
    let [member, former_member] = [private_key(), private_key()];
    let identities = [
        identity(member.public_key(), None),
        identity(former_member.public_key(), Some(Timestamp::UNIX_EPOCH)),
    ];
    let gateway = TestGateway::setup(scenario).only(&identities).start();
    only_member_is_answered(&gateway, &former_member, &member).await;
    gateway.finish();
}

/// The client gives up after 90 s. The test ends with its second initiation, 5 s after the first.
#[tokio::test]
async fn a_client_with_an_unknown_identity_does_not_connect() {
    let scenario = Scenario::IPV4_KERNEL;
    let gateway = TestGateway::setup(scenario).only(&[]).start();
    let listen = gateway.listen_address();
    let stranger = private_key();
    let attempt = SnapTunClient::try_connect(
        gateway.public_key(),
        listen,
        &stranger,
        free_socket(listen).await,
    );

    tokio::select! {
        outcome = attempt => match outcome {
            Ok(_) => panic!("connected"),
            Err(error) => panic!("{error}"),
        },
        _ = gateway.until_dropped(UNAUTHORIZED, 2) => {}
    }

    let total = gateway.finish();
    assert_eq!((total.shard.tunnels_created, total.originated_sent), (0, 0));
}

/// Sends initiations of `stranger` and then of `member` from the same address. The first datagram that comes back is
/// the answer to `member`.
async fn only_member_is_answered(
    gateway: &TestGateway,
    stranger: &PrivateKey,
    member: &PrivateKey,
) {
    let listen = gateway.listen_address();
    let bind = SocketAddr::new(listen.ip(), 0);
    let stranger = stranger.to_secret();
    let mut client = Client::new(&stranger, bind, listen, gateway.public_key());
    client.initiate();
    let total = gateway.until_dropped(UNAUTHORIZED, 1).await;
    assert_eq!((total.tunnels, total.originated_sent), (0, 0));

    client.change_identity(&member.to_secret());
    client.initiate();
    let first = client.receive_datagram().unwrap();
    client.handle(&first);
    assert_eq!(client.address(), client.local_address());
    gateway
        .until("one tunnel", |total| total.tunnels == 1)
        .await;
}

const fn identity(public_key: PublicKey, expires: Option<Timestamp>) -> Identity {
    Identity {
        public_key,
        name: None,
        expires,
    }
}

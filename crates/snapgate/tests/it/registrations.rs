//! Identities that are registered while the gateway runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use jiff::{SignedDuration, Timestamp};
use snapgate::authorization::{Registered, Registration, RegistrationChange, Registry};
use snapgate::config::{Authorization, Forward};
use snapgate::drop_reason::DropReason;
use snapgate::identities::Identity;
use snapgate::keys;
use testkit::gateway::{TestGateway, config};
use testkit::{Client, identity};
use x25519_dalek::{PublicKey, StaticSecret};

/// In seconds.
const HOUR: i64 = 3600;

/// A gateway with a registry, and the identities in its file.
fn gateway(listed: &[&StaticSecret]) -> TestGateway {
    let listed = listed.iter().map(|identity| Identity {
        public_key: keys::PublicKey::from_bytes(PublicKey::from(*identity).to_bytes()),
        name: None,
        expires: None,
    });
    let mut config = config(Forward::Echo);
    config.authorization = Authorization::Identities(listed.collect());
    TestGateway::start(&config)
}

fn registry(gateway: &TestGateway) -> &Arc<Registry> {
    gateway.gateway().registry().unwrap()
}

fn registered(identity: &StaticSecret, seconds: i64, token_id: &str) -> RegistrationChange {
    RegistrationChange {
        identity: PublicKey::from(identity).to_bytes(),
        registered: Some(Registered {
            expires: Timestamp::now() + SignedDuration::from_secs(seconds),
            registration: Arc::new(Registration {
                pssid: "subscriber".into(),
                token_id: token_id.into(),
            }),
        }),
    }
}

fn removed(identity: &StaticSecret) -> RegistrationChange {
    RegistrationChange {
        identity: PublicKey::from(identity).to_bytes(),
        registered: None,
    }
}

fn connect(gateway: &TestGateway, identity: &StaticSecret) -> Client {
    let bind = SocketAddr::new(gateway.listen_address().ip(), 0);
    Client::connect(
        identity,
        bind,
        gateway.listen_address(),
        gateway.public_key(),
    )
}

fn echoes(client: &mut Client, packet: &[u8]) {
    client.send(packet);
    assert_eq!(client.receive(), packet);
}

#[test]
fn a_registered_identity_is_served_at_once() {
    let (client, other) = (identity(), identity());
    let gateway = gateway(&[]);
    registry(&gateway).apply(&[registered(&client, HOUR, "1")]);
    // Its initiation follows the answer to its registration, and is not repeated here.
    echoes(&mut connect(&gateway, &client), b"there and back");

    let bind = SocketAddr::new(gateway.listen_address().ip(), 0);
    let listen = gateway.listen_address();
    Client::new(&other, bind, listen, gateway.public_key()).initiate();
    let unauthorized = DropReason::Tunnel(snaptun::DropReason::Unauthorized).index();
    gateway.wait_for("the refusal", |total| total.dropped[unauthorized] == 1);
    gateway.stop();
}

#[test]
fn renewals_and_registrations_of_others_disturb_no_tunnel() {
    const RENEWALS: i64 = 300;
    const OTHERS: u32 = 10_000;
    let key = identity();
    let gateway = gateway(&[]);
    let registry = registry(&gateway);
    registry.apply(&[registered(&key, HOUR, "0")]);
    let mut client = connect(&gateway, &key);
    thread::scope(|scope| {
        scope.spawn(|| {
            for other in 0..OTHERS {
                let mut change = registered(&key, HOUR, "other");
                change.identity = [0xff; 32];
                change.identity[..4].copy_from_slice(&other.to_be_bytes());
                registry.apply(&[change]);
            }
        });
        for renewal in 1..=RENEWALS {
            let token_id = renewal.to_string();
            registry.apply(&[registered(&key, HOUR + renewal, &token_id)]);
            echoes(&mut client, token_id.as_bytes());
        }
    });
    let total = gateway.finish();
    assert_eq!(total.total_dropped(), 0, "{total:#?}");
    let shard = total.shard;
    assert_eq!((shard.tunnels_created, shard.tunnels_revoked), (1, 0));
    assert_eq!(
        (shard.handshakes_answered(), shard.handshakes_initiated),
        (1, 0)
    );
}

#[test]
fn a_removed_registration_ends_its_tunnels_and_no_others() {
    let (key, other) = (identity(), identity());
    let gateway = gateway(&[]);
    let registrations = [&key, &other].map(|key| registered(key, HOUR, "1"));
    registry(&gateway).apply(&registrations);
    let mut client = connect(&gateway, &key);
    let mut second = connect(&gateway, &key);
    let mut other = connect(&gateway, &other);
    for client in [&mut client, &mut second, &mut other] {
        echoes(client, b"before");
    }
    registry(&gateway).apply(&[removed(&key)]);
    // Without a packet of the clients.
    let before = gateway.wait_for("the end of the tunnels", |total| {
        total.shard.tunnels_revoked == 2
    });
    client.send(b"after");
    second.send(b"after");
    gateway.wait_for("the drops", |total| {
        total.total_dropped() == before.total_dropped() + 2
    });
    echoes(&mut other, b"undisturbed");
    let total = gateway.stop();
    assert_eq!(
        total.sent_outgoing_packets,
        before.sent_outgoing_packets + 1
    );
}

#[test]
fn a_registration_that_returns_is_served_before_its_client_sends() {
    let key = identity();
    let gateway = gateway(&[]);
    registry(&gateway).apply(&[registered(&key, HOUR, "1")]);
    let mut client = connect(&gateway, &key);
    echoes(&mut client, b"before");
    registry(&gateway).apply(&[removed(&key)]);
    gateway.wait_for("the end of the tunnel", |total| total.lapsed_tunnels == 1);
    registry(&gateway).apply(&[registered(&key, HOUR, "2")]);
    // The initiation of the gateway, and the keepalive that confirms the session.
    for _ in 0..2 {
        let datagram = client.receive_datagram().unwrap();
        assert_eq!(client.handle(&datagram), None);
    }
    echoes(&mut client, b"after");
    assert_eq!(gateway.stop().shard.restart_handshakes_completed, 1);
}

#[test]
fn a_tunnel_stays_while_the_file_or_a_registration_authorizes_it() {
    let key = identity();
    let gateway = gateway(&[&key]);
    let mut client = connect(&gateway, &key);
    registry(&gateway).apply(&[registered(&key, HOUR, "1")]);
    echoes(&mut client, b"by the file");
    let changes = gateway.gateway().replace_identities(&[]).unwrap();
    assert_eq!(changes.removed, 1);
    echoes(&mut client, b"by its registration");
    registry(&gateway).apply(&[removed(&key)]);
    let total = gateway.wait_for("the end of the tunnel", |total| {
        total.shard.tunnels_revoked == 1
    });
    assert_eq!(total.shard.tunnels_created, 1);
    gateway.stop();
}

#[test]
fn registrations_are_counted() {
    let mut config = config(Forward::Echo);
    config.authorization = Authorization::Identities(Vec::new());
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let gateway = TestGateway::start(&config);
    let (first, second) = (identity(), identity());
    // An expired one stays until it is removed.
    registry(&gateway).apply(&[registered(&first, HOUR, "1"), registered(&second, -1, "2")]);
    assert_eq!(gateway.metrics().sum("snapgate_registrations"), 2);
    assert_eq!(gateway.metrics().sum("snapgate_identities"), 0);
    registry(&gateway).apply(&[removed(&first)]);
    assert_eq!(gateway.metrics().sum("snapgate_registrations"), 1);
}

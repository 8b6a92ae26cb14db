//! Grants that end and return.

use std::sync::atomic::Ordering;
use std::time::Duration;

use snaptun::{DropReason, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, In, Out, Received, Shard};

/// Timeout of an unanswered handshake, and minimum interval between two.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

const ROUND: Duration = Duration::from_millis(250);

/// Forged data message.
const SPOOFED: [u8; 48] = {
    let mut message = [0x5a; 48];
    (message[0], message[1], message[2], message[3]) = (4, 0, 0, 0);
    message
};

/// Ends the grant of the identity, which removes the tunnel.
fn lapse(shard: &mut Shard, client: &Client) {
    shard.registry.revoke(client.identity());
    shard.pass(ROUND);
    assert!(!shard.server.has_tunnel(client.remote()));
    assert!(shard.sent.is_empty());
}

fn renew(shard: &Shard, client: &Client) {
    shard.registry.grant(client.identity(), 1, None);
}

fn started(shard: &Shard) -> u64 {
    shard.server.counters().restart_handshakes_started
}

#[test]
fn a_silent_client_is_served_again_a_round_after_its_grant_returns() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    lapse(&mut shard, &client);
    assert_eq!(shard.server.lapsed_tunnels(), 1);
    shard.pass(Duration::from_secs(5));
    assert!(shard.sent.is_empty());

    renew(&shard, &client);
    shard.pass(ROUND);
    shard.complete_handshake(&mut client);
    let data = client.data(b"to the gateway");
    let fate = shard.incoming(&data, client.endpoint);
    assert_eq!(fate, In::Delivered(b"to the gateway".to_vec(), 1));
    let fate = shard.outgoing(b"to the client", client.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    assert_eq!(shard.deliver_to(&mut client), [b"to the client"]);
    assert_eq!(shard.server.lapsed_tunnels(), 0);
    shard.pass(REKEY_TIMEOUT);
    assert!(shard.server.has_tunnel(client.remote()));
}

#[test]
fn an_expired_grant_may_be_renewed_late() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let expires = shard.now + Duration::from_secs(1);
    shard.registry.grant(client.identity(), 1, Some(expires));
    shard.pass(Duration::from_secs(2));
    assert!(!shard.server.has_tunnel(client.remote()));
    renew(&shard, &client);
    shard.pass(ROUND);
    shard.complete_handshake(&mut client);
}

/// A grant that returns is no reason to ask for the grants of other tunnels.
#[test]
fn a_returned_grant_is_served_without_a_new_generation() {
    let mut shard = new_shard();
    let _others: Vec<_> = (10..20).map(|n| shard.connected_client(n)).collect();
    let mut client = shard.connected_client(1);
    lapse(&mut shard, &client);
    shard.pass(ROUND);
    let asked = shard.registry.asked.load(Ordering::Relaxed);

    shard.registry.grant_again(client.identity(), 1);
    shard.pass(ROUND);
    shard.complete_handshake(&mut client);
    shard.pass(ROUND);
    let fate = shard.outgoing(b"to the client", client.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    assert_eq!(shard.registry.asked.load(Ordering::Relaxed), asked + 1);
}

/// The generation need not change when a grant is extended.
#[test]
fn data_also_begins_the_handshake() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let expires = shard.now + Duration::from_secs(1);
    shard.registry.grant(client.identity(), 1, Some(expires));
    shard.connect(&mut client);
    shard.pass(Duration::from_secs(2));
    assert!(!shard.server.has_tunnel(client.remote()));
    let later = shard.now + Duration::from_secs(60);
    shard.registry.renew(client.identity(), later);
    let data = client.data(b"lost");
    let fate = shard.incoming(&data, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoSession));
    shard.complete_handshake(&mut client);
}

#[test]
fn a_client_whose_grant_never_returns_gets_no_messages_and_is_forgotten() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    lapse(&mut shard, &client);
    for other in 0..20 {
        // The list changes for other identities.
        let _other = shard.client(100 + other);
        let datagram = client.data(b"lost");
        let fate = shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
        let fate = shard.outgoing(b"lost", client.remote());
        assert!(matches!(fate, Out::Dropped(DropReason::NoTunnel, _)));
        shard.pass(Duration::from_secs(1));
    }
    assert_eq!(shard.server.lapsed_tunnels(), 1);
    shard.pass(Duration::from_secs(540));
    assert_eq!(shard.server.lapsed_tunnels(), 0);
    renew(&shard, &client);
    shard.pass(Duration::from_secs(2));
    assert!(shard.sent.is_empty());
    assert_eq!(started(&shard), 0);
}

#[test]
fn a_returned_grant_causes_one_initiation_and_spoofed_data_one_in_five_seconds() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    lapse(&mut shard, &client);
    renew(&shard, &client);
    shard.pass(ROUND);
    assert_eq!(shard.take_sent().len(), 1);
    for other in 0..30 {
        let _other = shard.client(100 + other);
        shard.pass(Duration::from_secs(1));
        assert!(shard.sent.is_empty());
    }
    assert!(!shard.server.has_tunnel(client.remote()));
    for round in 2..5 {
        for _ in 0..100 {
            shard.incoming(&SPOOFED, client.endpoint);
        }
        assert_eq!(started(&shard), round);
        shard.sent.clear();
        shard.pass(REKEY_TIMEOUT + Duration::from_secs(2));
        assert!(!shard.server.has_tunnel(client.remote()));
    }
}

#[test]
fn a_flapping_grant_causes_one_initiation_in_five_seconds() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    for _ in 0..20 {
        shard.registry.revoke(client.identity());
        shard.pass(ROUND);
        assert!(!shard.server.has_tunnel(client.remote()));
        renew(&shard, &client);
        shard.pass(ROUND);
    }
    // In 10 s.
    assert!((2..=3).contains(&started(&shard)), "{}", started(&shard));
}

#[test]
fn no_handshake_begins_at_an_address_that_another_client_has_taken() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    lapse(&mut shard, &client);
    let mut newcomer = shard.client(2);
    newcomer.endpoint = client.endpoint;
    let response = shard.answer(&mut newcomer);
    renew(&shard, &client);
    shard.pass(ROUND);
    assert!(shard.sent.is_empty());
    let Received::Answer(keepalive) = newcomer.receive(&response) else {
        panic!("the client did not accept the response");
    };
    shard.incoming(&keepalive, newcomer.endpoint);
    assert_eq!(shard.server.lapsed_tunnels(), 0);
    shard.pass(Duration::from_secs(1));
    assert!(shard.sent.is_empty());
    assert_eq!(started(&shard), 0);
}

#[test]
fn only_tunnels_in_use_are_remembered() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    shard.answer(&mut client);
    lapse(&mut shard, &client);
    assert_eq!(shard.server.lapsed_tunnels(), 0);
    let incoming = shard.incoming(&SPOOFED, client.endpoint);
    assert_eq!(incoming, In::Dropped(DropReason::NoTunnel));
}

#[test]
fn a_shard_that_drains_begins_no_handshake_when_a_grant_returns() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    lapse(&mut shard, &client);
    shard.server.drain();
    renew(&shard, &client);
    shard.pass(Duration::from_secs(2));
    assert!(shard.sent.is_empty());
}

#[test]
fn a_client_that_has_moved_gets_no_handshake_at_its_old_address() {
    let config = ShardConfig {
        one_tunnel_per_identity: true,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let client = shard.connected_client(1);
    lapse(&mut shard, &client);
    // Authorized, and the client uses its new address first.
    renew(&shard, &client);
    let mut moved = Client::at("10.9.9.9:9".parse().unwrap(), 1, Shard::public_key());
    shard.connect(&mut moved);
    shard.pass(Duration::from_secs(1));
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.lapsed_tunnels(), 0);
}

/// As when the identities file was empty for a moment.
#[test]
fn handshakes_after_a_mass_return_are_rate_limited() {
    const PER_SECOND: u64 = 100;
    let config = ShardConfig {
        restart_handshakes_per_second: PER_SECOND,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let mut clients: Vec<_> = (1..=200).map(|n| shard.connected_client(n)).collect();
    for client in &clients {
        shard.registry.revoke(client.identity());
    }
    shard.pass(ROUND);
    assert_eq!(shard.server.lapsed_tunnels(), 200);
    for client in &clients {
        renew(&shard, client);
    }
    for second in 1..=10 {
        shard.pass(Duration::from_secs(1));
        assert!(
            started(&shard) <= second * PER_SECOND + 3,
            "{}",
            started(&shard)
        );
        for transmit in shard.take_sent() {
            let client = clients
                .iter_mut()
                .find(|client| client.endpoint == transmit.to);
            let client = client.expect("a client");
            let Received::Answer(response) = client.receive(&transmit.packet) else {
                panic!("the client did not answer");
            };
            shard.incoming(&response, client.endpoint);
        }
        shard.sent.clear();
    }
    assert_eq!(started(&shard), 200);
    assert_eq!(shard.server.lapsed_tunnels(), 0);
    assert_eq!(shard.server.counters().restart_handshakes_deferred, 0);
}

#[test]
fn remembered_clients_are_limited_to_the_number_of_tunnels() {
    let config = ShardConfig {
        tunnels_per_shard: 3,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    for identity in 1..10 {
        let client = shard.connected_client(identity);
        lapse(&mut shard, &client);
        assert!(shard.server.lapsed_tunnels() <= 3);
    }
    assert_eq!(shard.server.remembered_tunnels(), 0);
}

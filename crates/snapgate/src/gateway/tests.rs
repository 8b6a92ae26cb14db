//! Gateways whose clock leaps, or whose sessions are ended.

use snaptun::SnapTunAuthorization as _;
use testkit::{Client, identity, wait_until};
use x25519_dalek::PublicKey;

use super::*;
use crate::config::{Authorization, Forward};
use crate::gateway_clock::Leaps;
use crate::keys::PrivateKey;

/// An echoing gateway on a clock that leaps, and a client with a tunnel.
fn started(leaps: &Leaps) -> (Gateway, Client) {
    let private_key = PrivateKey::generate().unwrap();
    let public_key = PublicKey::from(&private_key.to_secret());
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config::new(
        any_port,
        private_key,
        Authorization::AnyIdentity,
        Forward::Echo,
    );
    let gateway = Gateway::start_on(&config, Attachments::default(), &leaps.clock()).unwrap();
    let listen = gateway.local_addresses().tunnels[0];
    let mut client = Client::connect(&identity(), any_port, listen, &public_key);
    echoes(&mut client, b"before");
    (gateway, client)
}

fn echoes(client: &mut Client, packet: &[u8]) {
    client.send(packet);
    assert_eq!(client.receive(), packet);
}

fn total(gateway: &Gateway) -> Counters {
    let mut total = Counters::default();
    let workers = gateway.counters();
    workers.iter().for_each(|worker| total.add(worker));
    total
}

/// Sends in the session that the client still has, and then completes the handshake that the gateway begins.
fn complete_new_handshake(client: &mut Client) {
    const DATA: u8 = 4;
    client.send(b"in the old session");
    let mut is_confirmed = false;
    while !is_confirmed {
        let datagram = client.receive_datagram().expect("a new handshake");
        assert_eq!(client.handle(&datagram), None, "the old session was used");
        // The keepalive in the new session.
        is_confirmed = datagram[0] == DATA;
    }
}

#[test]
fn a_session_that_ended_while_the_host_was_suspended_is_not_used_and_its_client_gets_a_new_one() {
    let leaps = Leaps::default();
    let (gateway, mut client) = started(&leaps);
    leaps.leap(240);
    complete_new_handshake(&mut client);
    echoes(&mut client, b"after");
    assert_eq!(total(&gateway).shard.tunnels_reopened, 1);
    assert!(gateway.stop().workers.iter().all(Counters::balance));
}

#[test]
fn a_session_that_outlasts_a_suspension_stays_in_use() {
    let leaps = Leaps::default();
    let (gateway, mut client) = started(&leaps);
    leaps.leap(60);
    echoes(&mut client, b"after");
    let counters = total(&gateway).shard;
    assert_eq!(
        (counters.tunnels_reopened, counters.tunnels_created),
        (0, 1)
    );
}

#[test]
fn no_session_is_used_after_all_were_ended_and_clients_get_new_ones() {
    let (gateway, mut client) = started(&Leaps::default());
    gateway.end_sessions();
    // The turn in which it was called may still use them.
    let turns = total(&gateway).turns;
    wait_until("a turn", || {
        (total(&gateway).turns > turns + 1).then_some(())
    });
    complete_new_handshake(&mut client);
    echoes(&mut client, b"after");
    assert_eq!(total(&gateway).shard.tunnels_reopened, 1);
    assert!(gateway.stop().workers.iter().all(Counters::balance));
}

/// The end of a grant is computed from the gateway's clock and the system clock, which both count suspension.
#[test]
fn a_grant_that_ended_while_the_host_was_suspended_is_over() {
    let leaps = Leaps::default();
    let clock = leaps.clock();
    let key = [9; 32];
    let authorizer = Authorizer::new(&Authorization::Identities(vec![Identity {
        public_key: crate::keys::PublicKey::from_bytes(key),
        name: None,
        expires: Some(jiff::Timestamp::now() + Duration::from_secs(100)),
    }]));
    let grant = authorizer.is_authorized(clock.now(), &key).unwrap();
    let end = grant.expires.unwrap();
    assert!(clock.now() < end);
    leaps.leap(101);
    assert!(clock.now() > end);
}

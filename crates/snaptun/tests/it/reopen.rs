//! Sessions that are ended because their keys may be in use elsewhere, and the new handshakes with their clients.

use std::time::Duration;

use snaptun::{DropReason, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, In, Out, Received, Shard};

const ROUND: Duration = Duration::from_millis(250);

fn is_served(shard: &mut Shard, client: &mut Client) {
    let data = client.data(b"to the gateway");
    let fate = shard.incoming(&data, client.endpoint);
    assert_eq!(fate, In::Delivered(b"to the gateway".to_vec(), 1));
    let fate = shard.outgoing(b"to the client", client.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    assert_eq!(shard.deliver_to(client), [b"to the client"]);
}

#[test]
fn nothing_is_sent_or_received_in_a_session_that_was_ended() {
    for incoming in [true, false] {
        let mut shard = new_shard();
        let mut client = shard.connected_client(1);
        let data = client.data(b"old session");
        shard.server.end_sessions();
        if incoming {
            let fate = shard.incoming(&data, client.endpoint);
            assert_eq!(fate, In::Dropped(DropReason::NoTunnel));
        } else {
            assert!(!shard.send_own(b"report", client.remote()));
            let fate = shard.outgoing(b"packet", client.remote());
            assert!(matches!(fate, Out::Dropped(DropReason::NoTunnel, _)));
        }
        assert!(shard.sent.is_empty());
        assert!(!shard.server.has_tunnel(client.remote()));
        assert_eq!(shard.server.counters().tunnels_reopened, 1);
    }
}

#[test]
fn a_silent_client_is_served_again_two_rounds_after_its_session_was_ended() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.server.end_sessions();
    shard.pass(2 * ROUND);
    shard.complete_handshake(&mut client);
    is_served(&mut shard, &mut client);
    assert_eq!(shard.server.lapsed_tunnels(), 0);
    let counters = shard.server.counters();
    assert_eq!(counters.tunnels_reopened, 1);
    assert_eq!(counters.restart_handshakes_completed, 1);
}

#[test]
fn data_begins_the_handshake_at_once() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.server.end_sessions();
    for reason in [DropReason::NoTunnel, DropReason::NoSession] {
        assert!(shard.sent.is_empty());
        let data = client.data(b"old session");
        let fate = shard.incoming(&data, client.endpoint);
        assert_eq!(fate, In::Dropped(reason));
    }
    shard.complete_handshake(&mut client);
    is_served(&mut shard, &mut client);
}

#[test]
fn an_initiation_of_the_client_is_answered_at_once() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.server.end_sessions();
    shard.connect(&mut client);
    is_served(&mut shard, &mut client);
    shard.pass(Duration::from_secs(1));
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.lapsed_tunnels(), 0);
}

/// The other copy of the process may have completed the same handshake, with the same keys.
#[test]
fn handshakes_under_way_are_ended_too() {
    let mut shard = new_shard();
    // Begun by the client, which has not confirmed it.
    let mut answered = shard.client(2);
    let response = shard.answer(&mut answered);
    let Received::Answer(keepalive) = answered.receive(&response) else {
        panic!("the client did not accept the response");
    };
    // Begun by the shard.
    let mut client = shard.connected_client(1);
    shard.registry.revoke(client.identity());
    shard.pass(ROUND);
    shard.registry.grant(client.identity(), 1, None);
    shard.pass(ROUND);
    let [initiation] = shard.take_sent().try_into().expect("an initiation");
    let Received::Answer(response) = client.receive(&initiation.packet) else {
        panic!("the client did not answer");
    };

    shard.server.end_sessions();
    let fate = shard.incoming(&keepalive, answered.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoTunnel));
    let fate = shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoTunnel));
    assert!(shard.sent.is_empty());
    // The shard begins another handshake when the last one is 5 s old.
    shard.pass(Duration::from_secs(6));
    shard.complete_handshake(&mut client);
    is_served(&mut shard, &mut client);
}

#[test]
fn tunnels_made_afterwards_are_not_affected() {
    let mut shard = new_shard();
    let _old = shard.connected_client(2);
    shard.server.end_sessions();
    let mut client = shard.connected_client(1);
    shard.pass(4 * ROUND);
    shard.sent.clear();
    is_served(&mut shard, &mut client);
    assert_eq!(shard.server.counters().tunnels_reopened, 1);
}

#[test]
fn packets_that_wait_are_counted_as_lost() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    shard.answer(&mut client);
    let fate = shard.outgoing(b"waits", client.remote());
    assert_eq!(fate, Out::Waiting(1));
    shard.server.end_sessions();
    shard.pass(ROUND);
    assert_eq!(shard.server.waiting_packets(), 0);
    assert_eq!(shard.server.counters().waiting_discarded_expired, 1);
}

#[test]
fn an_identity_that_lost_its_grant_meanwhile_gets_no_handshake() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    shard.server.end_sessions();
    shard.registry.revoke(client.identity());
    shard.pass(Duration::from_secs(1));
    assert!(shard.sent.is_empty());
    shard.registry.grant(client.identity(), 1, None);
    shard.pass(ROUND);
    assert_eq!(shard.take_sent().len(), 1);
}

#[test]
fn many_clients_are_served_again_at_the_rate_of_a_restart() {
    const PER_SECOND: u64 = 100;
    let config = ShardConfig {
        restart_handshakes_per_second: PER_SECOND,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let clients: Vec<_> = (1..=150).map(|n| shard.connected_client(n)).collect();
    shard.server.end_sessions();
    let started = |shard: &Shard| shard.server.counters().restart_handshakes_started;
    for second in 1..=10 {
        shard.pass(Duration::from_secs(1));
        let started = started(&shard);
        assert!(started <= second * PER_SECOND + 3, "{started}");
    }
    assert_eq!(started(&shard), clients.len() as u64);
    assert_eq!(shard.server.counters().tunnels_reopened, 150);
}

//! Expiry of sessions and tunnels.

use std::time::Duration;

use snaptun::{DropReason, Endpoint};

use crate::world::{LOOK, QUIET_LOOK, TICK, World};
use testkit::shard::{In, Out};

/// `Reject-After-Time` (WireGuard whitepaper, section 6.1).
const REJECT_AFTER: Duration = Duration::from_secs(180);

/// Time without a new session after which all keys of a tunnel are wiped (section 6.3).
const FORGET_AFTER: Duration = Duration::from_secs(540);

#[test]
fn a_silent_tunnel_expires() {
    let mut world = World::new();
    let client = world.shard.connected_client(1);
    let sent = world.run_shard(FORGET_AFTER - TICK);
    assert!(sent.is_empty());
    assert!(world.shard.server.has_tunnel(client.remote()));
    world.run_shard(QUIET_LOOK);
    assert!(!world.shard.server.has_tunnel(client.remote()));
    assert_eq!(world.shard.server.tunnel_count(), 0);
    assert_eq!(world.shard.server.counters().tunnels_expired, 1);
}

#[test]
fn an_expired_client_can_come_back() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    world.run_shard(FORGET_AFTER + QUIET_LOOK);
    assert_eq!(world.shard.server.tunnel_count(), 0);
    world.shard.connect(&mut client);
    assert_eq!(
        world.shard.outgoing(b"back", client.remote()),
        Out::Encapsulated(1)
    );
}

#[test]
fn a_session_is_rejected_after_three_minutes() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    let late = client.data(b"late");
    let just_in_time = client.data(b"just in time");

    world.run_shard(REJECT_AFTER);
    let fate = world.shard.incoming(&just_in_time, client.endpoint);
    assert_eq!(fate, In::Delivered(b"just in time".to_vec(), 1));
    world.run_shard(LOOK);
    let fate = world.shard.incoming(&late, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoSession));
}

#[test]
fn a_packet_for_a_tunnel_without_a_session_starts_a_handshake_and_follows_it() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    world.run_shard(REJECT_AFTER + TICK);
    for n in 0..3u8 {
        assert_eq!(world.shard.outgoing(&[n], client.remote()), Out::Waiting(1));
    }
    // One initiation, not one per packet.
    assert_eq!(world.shard.sent.len(), 1);
    assert_eq!(world.shard.server.counters().handshakes_initiated, 1);
    assert_eq!(world.exchange(&mut client), [[0], [1], [2]]);
    assert_eq!(world.shard.server.counters().handshakes_completed, 1);
    assert_eq!(world.shard.server.waiting_packets(), 0);
    assert_eq!(
        world.shard.outgoing(b"direct", client.remote()),
        Out::Encapsulated(1)
    );
}

#[test]
fn a_vanished_client_is_given_up_after_90_seconds_of_initiations() {
    let mut world = World::new();
    let client = world.shard.connected_client(1);
    world.run_shard(REJECT_AFTER + TICK);
    assert_eq!(
        world.shard.outgoing(b"unheard", client.remote()),
        Out::Waiting(1)
    );
    let sent = world.run_shard(Duration::from_secs(89));
    // Every 5 s, plus up to 333 ms of jitter, seen at the next timer check.
    assert!(
        (14..=18).contains(&sent.len()),
        "{} initiations",
        sent.len()
    );
    assert_eq!(
        world.shard.server.counters().handshakes_initiated,
        sent.len() as u64
    );
    assert!(sent.iter().all(|transmit| transmit.packet.len() == 148));
    assert_eq!(world.shard.server.waiting_packets(), 1);

    world.run_shard(Duration::from_secs(1) + LOOK);
    assert_eq!(world.shard.server.tunnel_count(), 0);
    assert_eq!(world.shard.server.waiting_packets(), 0);
    assert_eq!(world.shard.server.counters().tunnels_expired, 1);
    assert_eq!(world.shard.server.counters().waiting_discarded_expired, 1);
}

#[test]
fn the_old_tunnel_of_a_client_that_moved_expires() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    let old = client.endpoint;
    client.endpoint = Endpoint {
        remote: "10.9.9.9:9".parse().unwrap(),
        ..old
    };
    // The system clock, which stamps initiations, has to advance in between.
    world.sleep(TICK);
    world.shard.connect(&mut client);
    assert_eq!(world.shard.server.tunnel_count(), 2);
    for _ in 0..(FORGET_AFTER + QUIET_LOOK).as_millis() / TICK.as_millis() {
        let datagram = client.data(b"alive");
        assert_eq!(
            world.shard.incoming(&datagram, client.endpoint),
            In::Delivered(b"alive".to_vec(), 1)
        );
        world.tick(&mut client);
    }
    assert!(!world.shard.server.has_tunnel(old.remote));
    assert!(world.shard.server.has_tunnel(client.remote()));
    assert_eq!(world.shard.server.counters().tunnels_expired, 1);
}

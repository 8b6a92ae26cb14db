//! Changes of authorization.

use std::sync::atomic::Ordering;
use std::time::Duration;

use snaptun::{DropReason, ShardConfig};

use crate::clock::new_shard;
use testkit::shard::{Client, In, Out, Shard};

#[test]
fn a_revoked_identity_loses_its_tunnel_with_its_next_incoming_packet() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let mut other = shard.connected_client(2);
    shard.registry.revoke(client.identity());

    let datagram = client.data(b"late");
    let fate = shard.incoming(&datagram, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    assert!(!shard.server.has_tunnel(client.remote()));
    assert_eq!(shard.server.counters().tunnels_revoked, 1);
    let fate = shard.outgoing(b"late", client.remote());
    assert_eq!(fate, Out::Dropped(DropReason::NoTunnel, b"late".to_vec()));

    let datagram = other.data(b"undisturbed");
    let fate = shard.incoming(&datagram, other.endpoint);
    assert_eq!(fate, In::Delivered(b"undisturbed".to_vec(), 2));
}

#[test]
fn a_revoked_identity_loses_its_tunnel_with_its_next_outgoing_packet() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    shard.registry.revoke(client.identity());
    let fate = shard.outgoing(b"late", client.remote());
    assert_eq!(
        fate,
        Out::Dropped(DropReason::Unauthorized, b"late".to_vec())
    );
    assert!(!shard.server.has_tunnel(client.remote()));
    assert!(shard.sent.is_empty());
}

#[test]
fn a_revoked_identity_also_loses_its_tunnel_without_a_packet() {
    let mut shard = new_shard();
    let client = shard.client(1);
    let mut waiting = shard.client(2);
    shard.answer(&mut waiting);
    assert_eq!(shard.outgoing(b"waits", waiting.remote()), Out::Waiting(2));
    shard.registry.revoke(client.identity());
    shard.registry.revoke(waiting.identity());

    shard.now += ShardConfig::default().timer_round;
    shard.update_timers();
    assert_eq!(shard.server.tunnel_count(), 0);
    assert_eq!(shard.server.waiting_packets(), 0);
    assert_eq!(shard.server.counters().waiting_discarded_revoked, 1);
    assert!(shard.sent.is_empty());
}

#[test]
fn a_revoked_identity_cannot_come_back_until_it_is_authorized_again() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.registry.revoke(client.identity());
    let initiation = client.initiation();
    for _ in 0..2 {
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    }
    shard.registry.grant(client.identity(), 3, None);
    shard.connect(&mut client);
    assert_eq!(
        shard.outgoing(b"back", client.remote()),
        Out::Encapsulated(3)
    );
}

#[test]
fn the_address_of_a_revoked_tunnel_is_free_at_once() {
    let mut shard = new_shard();
    let revoked = shard.connected_client(1);
    shard.registry.revoke(revoked.identity());
    let mut next = shard.client(2);
    next.endpoint = revoked.endpoint;
    shard.connect(&mut next);
    assert_eq!(shard.server.counters().tunnels_revoked, 1);
    assert_eq!(shard.server.tunnel_count(), 1);
    assert_eq!(
        shard.outgoing(b"packet", next.remote()),
        Out::Encapsulated(2)
    );
}

#[test]
fn a_change_is_seen_from_the_next_batch_on() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    shard.registry.grant(client.identity(), 7, None);
    assert_eq!(
        shard.outgoing(b"packet", client.remote()),
        Out::Encapsulated(7)
    );
}

#[test]
fn new_session_data_reaches_existing_tunnels_in_both_directions() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    for session_data in [7, 8] {
        shard.registry.grant(client.identity(), session_data, None);
        let datagram = client.data(b"packet");
        assert_eq!(
            shard.incoming(&datagram, client.endpoint),
            In::Delivered(b"packet".to_vec(), session_data)
        );
        assert_eq!(
            shard.outgoing(b"packet", client.remote()),
            Out::Encapsulated(session_data)
        );
    }
    assert_eq!(shard.server.counters().tunnels_revoked, 0);
}

/// All tunnels of a revoked identity are removed, and their places and addresses are free.
#[test]
fn a_revoked_identity_leaves_nothing_behind() {
    let mut shard = new_shard();
    let mut first = shard.connected_client(1);
    let mut second = Client::at("10.0.0.1:40001".parse().unwrap(), 1, Shard::public_key());
    shard.answer(&mut second);
    assert_eq!(shard.outgoing(b"waits", second.remote()), Out::Waiting(1));
    shard.registry.revoke(first.identity());
    shard.now += ShardConfig::default().timer_round;
    shard.update_timers();
    assert_eq!(shard.server.tunnel_count(), 0);
    assert_eq!(shard.server.half_open_tunnels(), 0);
    assert_eq!(shard.server.waiting_packets(), 0);
    assert!(shard.sent.is_empty());
    for client in [&mut first, &mut second] {
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    }
    let mut next = shard.client(2);
    next.endpoint = second.endpoint;
    shard.connect(&mut next);
    assert_eq!(shard.server.counters().cookies_demanded_takeover, 0);
}

#[test]
fn a_grant_that_ended_is_requested_again() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    let lifetime = Duration::from_secs(60);
    shard
        .registry
        .grant(client.identity(), 1, Some(shard.now + lifetime));
    shard.now += lifetime - Duration::from_nanos(1);
    assert_eq!(
        shard.outgoing(b"packet", client.remote()),
        Out::Encapsulated(1)
    );

    // Renewed without a new generation, as by a token that is valid for longer.
    let asked = shard.registry.asked.load(Ordering::Relaxed);
    shard
        .registry
        .renew(client.identity(), shard.now + 2 * lifetime);
    shard.now += Duration::from_nanos(1);
    assert_eq!(
        shard.outgoing(b"packet", client.remote()),
        Out::Encapsulated(1)
    );
    assert_eq!(shard.registry.asked.load(Ordering::Relaxed), asked + 1);

    shard.now += 2 * lifetime;
    let fate = shard.outgoing(b"packet", client.remote());
    assert_eq!(
        fate,
        Out::Dropped(DropReason::Unauthorized, b"packet".to_vec())
    );
    assert_eq!(shard.server.tunnel_count(), 0);
}

#[test]
fn a_grant_that_has_already_ended_opens_no_tunnel() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    shard.registry.grant(client.identity(), 1, Some(shard.now));
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    assert_eq!(shard.server.tunnel_count(), 0);
}

#[test]
fn the_authorization_layer_is_not_asked_for_every_packet() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let asked = shard.registry.asked.load(Ordering::Relaxed);
    for _ in 0..100 {
        let datagram = client.data(b"packet");
        shard.incoming(&datagram, client.endpoint);
        shard.outgoing(b"packet", client.remote());
    }
    shard.now += ShardConfig::default().timer_round;
    shard.update_timers();
    assert_eq!(shard.registry.asked.load(Ordering::Relaxed), asked);
}

#[test]
fn a_shard_can_be_moved_to_its_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&new_shard().server);
}

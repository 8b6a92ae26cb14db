//! Grants that end.

use std::time::Duration;

use crate::world::{TICK, World};
use testkit::shard::{In, Out};

#[test]
fn a_silent_tunnel_does_not_outlive_its_grant_by_more_than_a_round() {
    let mut world = World::new();
    let client = world.shard.client(1);
    let mut other = world.shard.connected_client(2);
    let lifetime = Duration::from_secs(60);
    let expires = world.shard.now + lifetime;
    world
        .shard
        .registry
        .grant(client.identity(), 1, Some(expires));
    let mut client = client;
    world.shard.connect(&mut client);

    world.run_shard(lifetime - TICK);
    assert!(world.shard.server.has_tunnel(client.remote()));
    world.run_shard(TICK);
    assert!(!world.shard.server.has_tunnel(client.remote()));
    assert_eq!(world.shard.server.counters().tunnels_revoked, 1);
    assert_eq!(
        world.shard.outgoing(b"packet", other.remote()),
        Out::Encapsulated(2)
    );
    assert_eq!(world.exchange(&mut other), [b"packet"]);
}

/// The timers of a quiet tunnel are checked less often until a message passes.
#[test]
fn a_quiet_tunnel_with_a_new_message_does_not_outlive_its_grant_by_more_than_a_round() {
    let mut world = World::new();
    let mut client = world.shard.client(1);
    let lifetime = Duration::from_secs(60);
    let expires = world.shard.now + lifetime;
    world
        .shard
        .registry
        .grant(client.identity(), 1, Some(expires));
    world.shard.connect(&mut client);

    world.run_shard(lifetime - TICK);
    let keepalive = client.data(b"");
    world.shard.incoming(&keepalive, client.endpoint);
    world.run_shard(TICK);
    assert!(!world.shard.server.has_tunnel(client.remote()));
}

#[test]
fn a_silent_tunnel_whose_grant_is_renewed_stays() {
    let mut world = World::new();
    let client = world.shard.connected_client(1);
    let lifetime = Duration::from_secs(60);
    for _ in 0..5 {
        let expires = world.shard.now + lifetime;
        world.shard.registry.renew(client.identity(), expires);
        world.run_shard(lifetime / 2);
        assert!(world.shard.server.has_tunnel(client.remote()));
    }
}

/// Both directions carry packets all the time when the identity is revoked or its grant ends.
#[test]
fn a_tunnel_in_use_carries_nothing_a_second_after_its_grant_ended() {
    const SECOND: Duration = Duration::from_secs(1);
    for revoked in [true, false] {
        let mut world = World::new();
        let mut client = world.shard.connected_client(1);
        let identity = client.identity();
        if revoked {
            world.shard.registry.revoke(identity);
        } else {
            let expires = world.shard.now + SECOND / 2;
            world.shard.registry.grant(identity, 1, Some(expires));
        }
        let gone_at = world.shard.now + SECOND / 2 + SECOND;
        while world.shard.now < gone_at {
            let datagram = client.data(b"packet");
            world.shard.incoming(&datagram, client.endpoint);
            world.shard.outgoing(b"packet", client.remote());
            world.sleep(SECOND / 100);
            world.shard.update_timers();
        }
        world.shard.sent.clear();
        assert!(!world.shard.server.has_tunnel(client.remote()));
        for _ in 0..100 {
            for datagram in [client.data(b"packet"), client.initiation()] {
                let fate = world.shard.incoming(&datagram, client.endpoint);
                assert!(matches!(fate, In::Dropped(_)), "{fate:?}");
            }
            let fate = world.shard.outgoing(b"packet", client.remote());
            assert!(matches!(fate, Out::Dropped(..)), "{fate:?}");
            assert!(world.run_shard(SECOND).is_empty(), "something was sent");
        }
    }
}

/// A token is renewed late, or an identity is removed from the list by mistake.
#[test]
fn a_client_that_only_keeps_its_tunnel_alive_is_served_within_a_second_of_its_new_grant() {
    const SECOND: Duration = Duration::from_secs(1);
    for without in [5, 60, 170, 400].map(|seconds| seconds * SECOND) {
        let mut world = World::new();
        let mut client = world.shard.connected_client(1);
        let identity = client.identity();
        world.shard.registry.revoke(identity);
        let back_at = world.shard.now + SECOND + without;
        world.run_shard(SECOND);
        while world.shard.now < back_at {
            assert!(world.tick(&mut client).is_empty());
            assert!(world.shard.sent.is_empty(), "something was sent");
            let fate = world.shard.outgoing(b"packet", client.remote());
            assert!(matches!(fate, Out::Dropped(..)), "{fate:?}");
        }

        world.shard.registry.grant(identity, 1, None);
        let served_by = world.shard.now + SECOND;
        while world.shard.now < served_by {
            world.tick(&mut client);
        }
        assert_eq!(
            world.shard.outgoing(b"packet", client.remote()),
            Out::Encapsulated(1),
            "after {without:?}"
        );
        assert_eq!(world.exchange(&mut client), [b"packet"]);
    }
}

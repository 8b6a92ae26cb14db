//! Grants that end.

use std::time::Duration;

use crate::shard::Out;
use crate::world::{TICK, World};

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

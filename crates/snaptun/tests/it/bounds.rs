//! Limits of the number of tunnels.

use std::net::SocketAddr;

use snaptun::{DropReason, ShardConfig};

use crate::clock::now;
use testkit::shard::{Client, In, Shard};

fn shard_with(config: ShardConfig) -> Shard {
    Shard::new(now(), config)
}

/// Returns the socket of identity 1 at this port.
fn socket(shard: &Shard, port: u16) -> Client {
    let remote = SocketAddr::from(([10, 0, 0, 1], port));
    let client = Client::at(remote, 1, Shard::public_key());
    shard.registry.grant(client.identity(), 1, None);
    client
}

fn initiate(shard: &mut Shard, client: &mut Client) -> In {
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    shard.sent.clear();
    fate
}

fn talks(shard: &mut Shard, client: &mut Client) {
    let keepalive = client.data(b"");
    let fate = shard.incoming(&keepalive, client.endpoint);
    assert!(matches!(fate, In::Consumed(_)), "{fate:?}");
}

fn has(shard: &Shard, client: &Client) -> bool {
    shard.server.has_tunnel(client.remote())
}

#[test]
fn one_identity_cannot_have_more_tunnels_than_its_limit() {
    let mut shard = shard_with(ShardConfig {
        tunnels_per_identity: 3,
        ..ShardConfig::default()
    });
    let mut neighbour = shard.connected_client(2);
    for port in 1..50 {
        let mut client = socket(&shard, port);
        initiate(&mut shard, &mut client);
        assert!(has(&shard, &client));
        assert!(shard.server.tunnel_count() <= 1 + 3);
    }
    talks(&mut shard, &mut neighbour);
    assert_eq!(shard.server.counters().tunnels_evicted, 49 - 3);
}

#[test]
fn an_identity_at_its_limit_keeps_tunnels_in_use() {
    let mut shard = shard_with(ShardConfig {
        tunnels_per_identity: 2,
        ..ShardConfig::default()
    });
    let mut used = socket(&shard, 1);
    let mut silent = socket(&shard, 2);
    shard.connect(&mut used);
    shard.connect(&mut silent);
    let mut next = socket(&shard, 3);
    assert_eq!(
        initiate(&mut shard, &mut next),
        In::Dropped(DropReason::IdentityTunnelLimit)
    );

    shard.now += ShardConfig::default().silent_after;
    talks(&mut shard, &mut used);
    shard.connect(&mut next);
    assert!(has(&shard, &used) && has(&shard, &next) && !has(&shard, &silent));
    assert_eq!(shard.server.tunnel_count(), 2);
    // A rekey is not a new tunnel.
    shard.connect(&mut used);
}

#[test]
fn an_identity_at_its_limit_loses_an_unused_tunnel_first() {
    let mut shard = shard_with(ShardConfig {
        tunnels_per_identity: 3,
        ..ShardConfig::default()
    });
    let [mut silent, mut first, mut second, mut next] =
        [1, 2, 3, 4].map(|port| socket(&shard, port));
    shard.connect(&mut silent);
    shard.now += ShardConfig::default().silent_after;
    initiate(&mut shard, &mut first);
    initiate(&mut shard, &mut second);
    shard.connect(&mut next);
    assert!(has(&shard, &silent) && has(&shard, &second) && !has(&shard, &first));
}

#[test]
fn the_oldest_half_open_tunnel_is_evicted() {
    let mut shard = shard_with(ShardConfig {
        half_open_tunnels: 2,
        ..ShardConfig::default()
    });
    let mut honest = shard.connected_client(1);
    let mut clients: Vec<_> = (2..=5).map(|n| shard.client(n)).collect();
    for client in &mut clients {
        initiate(&mut shard, client);
        assert!(shard.server.half_open_tunnels() <= 2);
    }
    let left: Vec<_> = clients.iter().map(|client| has(&shard, client)).collect();
    assert_eq!(left, [false, false, true, true]);
    assert!(has(&shard, &honest));
    talks(&mut shard, &mut honest);

    // A tunnel in use does not count as half-open.
    shard.connect(&mut clients[2]);
    shard.connect(&mut clients[3]);
    assert_eq!(shard.server.half_open_tunnels(), 0);
    assert_eq!(shard.server.tunnel_count(), 3);
}

#[test]
fn a_full_shard_evicts_unused_tunnels_then_silent_ones_and_never_those_in_use() {
    let mut shard = shard_with(ShardConfig {
        tunnels_per_shard: 3,
        ..ShardConfig::default()
    });
    let mut talking = shard.connected_client(1);
    let silent = shard.connected_client(2);
    let mut unused = shard.client(3);
    initiate(&mut shard, &mut unused);

    let mut next = shard.connected_client(4);
    assert!(has(&shard, &silent) && !has(&shard, &unused));

    let mut refused = shard.client(5);
    assert_eq!(
        initiate(&mut shard, &mut refused),
        In::Dropped(DropReason::ShardTunnelLimit)
    );

    shard.now += ShardConfig::default().silent_after;
    talks(&mut shard, &mut talking);
    talks(&mut shard, &mut next);
    shard.connect(&mut refused);
    assert!(has(&shard, &talking) && has(&shard, &next) && !has(&shard, &silent));
    assert_eq!(shard.server.tunnel_count(), 3);
    assert_eq!(shard.server.counters().tunnels_evicted, 2);
}

/// The holder's tunnel makes the room.
#[test]
fn a_takeover_in_a_full_shard_ends_no_other_tunnel() {
    let mut shard = shard_with(ShardConfig {
        tunnels_per_shard: 2,
        handshakes_per_ip_per_second: 0,
        ..ShardConfig::default()
    });
    let mut clients: Vec<_> = (1..=2).map(|n| shard.client(n)).collect();
    for client in &mut clients {
        shard.show_cookie(client);
        shard.connect(client);
    }
    shard.now += ShardConfig::default().silent_after;
    let mut newcomer = shard.client(3);
    newcomer.endpoint = clients[1].endpoint;
    shard.show_cookie(&mut newcomer);
    shard.connect(&mut newcomer);
    assert!(has(&shard, &clients[0]));
    assert_eq!(shard.server.counters().tunnels_replaced, 1);
    assert_eq!(shard.server.counters().tunnels_evicted, 0);
}

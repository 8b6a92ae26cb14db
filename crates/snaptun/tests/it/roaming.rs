//! A client that changes its address.

use std::time::Duration;

use snaptun::{DropReason, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, In, Out, Shard};

fn roam(client: &mut Client, port: u16) {
    client.endpoint.remote.set_port(port);
}

/// Returns two shards of a gateway in which an identity has one tunnel.
fn shards() -> [Shard; 2] {
    let config = ShardConfig {
        one_tunnel_per_identity: true,
        ..ShardConfig::default()
    };
    let shard = Shard::new(now(), config);
    [shard.sibling(), shard]
}

#[test]
fn a_client_that_roams_is_served_at_once_and_its_old_tunnel_expires_later() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let old = client.remote();
    roam(&mut client, 1);
    shard.connect(&mut client);
    assert!(shard.server.has_tunnel(old));
    assert!(shard.next_move().is_none());
    let fate = shard.outgoing(b"there", client.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    assert_eq!(shard.deliver_to(&mut client), [b"there"]);
}

#[test]
fn the_old_tunnel_is_removed_with_the_first_packet_in_the_new_one() {
    let [mut shard, _] = shards();
    let mut client = shard.connected_client(1);
    let other = shard.connected_client(2);
    let old = client.remote();
    shard.now += Duration::from_secs(1);
    roam(&mut client, 1);
    // The new tunnel is answered, but the initiation may be a replay; the old tunnel stays in use.
    shard.answer(&mut client);
    while shard.next_move().is_some() {}
    assert!(shard.server.has_tunnel(old));

    shard.connect(&mut client);
    while shard.next_move().is_some() {}
    assert!(!shard.server.has_tunnel(old));
    assert!(shard.server.has_tunnel(other.remote()));
    assert_eq!(shard.server.counters().tunnels_moved, 1);
    assert_eq!(
        shard.outgoing(b"late", old),
        Out::Dropped(DropReason::NoTunnel, b"late".to_vec())
    );
}

#[test]
fn the_old_tunnel_at_another_worker_is_removed() {
    let [mut before, mut after] = shards();
    let mut client = before.connected_client(1);
    let old = client.remote();
    while before.next_move().is_some() {}
    after.now += Duration::from_secs(1);
    roam(&mut client, 1);
    after.connect(&mut client);
    let moved = after.next_move().expect("a move");
    assert!(after.next_move().is_none());

    before.server.end_older_tunnels(&moved);
    assert!(!before.server.has_tunnel(old));
    assert_eq!(before.server.counters().tunnels_moved, 1);
    assert!(after.server.has_tunnel(client.remote()));
}

/// Each worker tells the other of its tunnel. The later one stays, in any order of the messages.
#[test]
fn of_two_simultaneous_tunnels_the_later_stays() {
    let [mut first, mut second] = shards();
    let mut client = first.connected_client(1);
    let old = client.remote();
    second.now += Duration::from_nanos(1);
    roam(&mut client, 1);
    second.connect(&mut client);
    let older = first.next_move().expect("a move");
    let newer = second.next_move().expect("a move");
    second.server.end_older_tunnels(&older);
    first.server.end_older_tunnels(&newer);
    assert!(!first.server.has_tunnel(old));
    assert!(second.server.has_tunnel(client.remote()));
}

#[test]
fn a_rekey_is_not_a_move() {
    let [mut shard, _] = shards();
    let mut client = shard.connected_client(1);
    while shard.next_move().is_some() {}
    shard.connect(&mut client);
    assert!(shard.next_move().is_none());
    let data = client.data(b"data");
    assert_eq!(
        shard.incoming(&data, client.endpoint),
        In::Delivered(b"data".to_vec(), 1)
    );
}

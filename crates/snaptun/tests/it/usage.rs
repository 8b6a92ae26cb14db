//! Records of the traffic in tunnels.

use std::time::Duration;

use snaptun::{ShardConfig, Traffic, Usage};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, In, Out, Received, Shard};

const ROUND: Duration = Duration::from_millis(250);

/// A shard that reports the usage of its tunnels.
fn shard() -> Shard {
    let config = ShardConfig {
        usage_records: true,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

fn receive(shard: &mut Shard, client: &mut Client, packet: &[u8]) {
    let data = client.data(packet);
    let fate = shard.incoming(&data, client.endpoint);
    assert!(matches!(fate, In::Delivered(..)), "{fate:?}");
}

fn send(shard: &mut Shard, client: &Client, packet: &[u8]) {
    let fate = shard.outgoing(packet, client.remote());
    assert!(matches!(fate, Out::Encapsulated(_)), "{fate:?}");
}

fn revoke(shard: &mut Shard, client: &Client) {
    shard.registry.revoke(client.identity());
    shard.pass(ROUND);
    assert!(!shard.server.has_tunnel(client.remote()));
}

const fn traffic(incoming: (u64, u64), outgoing: (u64, u64)) -> Traffic {
    Traffic {
        incoming_packets: incoming.0,
        incoming_bytes: incoming.1,
        outgoing_packets: outgoing.0,
        outgoing_bytes: outgoing.1,
    }
}

#[test]
fn a_tunnel_that_ends_reports_its_traffic() {
    let mut shard = shard();
    let mut client = shard.connected_client(1);
    let since = shard.now;
    for packet in [&b"four"[..], b"eight by"] {
        receive(&mut shard, &mut client, packet);
    }
    send(&mut shard, &client, b"three");
    assert!(shard.send_own(b"of the gateway", client.remote()));
    // None of these counts: a keepalive, a replay, a rekey, a packet that is dropped.
    let keepalive = client.data(b"");
    shard.incoming(&keepalive, client.endpoint);
    shard.incoming(&keepalive, client.endpoint);
    shard.connect(&mut client);
    shard.outgoing(b"", client.remote());
    assert_eq!(shard.next_usage(), None);

    shard.pass(Duration::from_secs(1));
    revoke(&mut shard, &client);
    let expected = Usage {
        remote: client.remote(),
        identity: client.identity(),
        session_data: 1,
        since,
        traffic: traffic((2, 12), (2, 19)),
    };
    assert_eq!(shard.next_usage(), Some(expected));
    assert_eq!(shard.next_usage(), None);
}

#[test]
fn packets_count_when_they_are_encrypted() {
    let mut shard = shard();
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    let fate = shard.outgoing(b"waits", client.remote());
    assert_eq!(fate, Out::Waiting(1));
    assert_eq!(shard.server.usage().count(), 0);
    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client rejected the response");
    };
    shard.incoming(&keepalive, client.endpoint);
    let open: Vec<_> = shard.server.usage().map(|usage| usage.traffic).collect();
    assert_eq!(open, [traffic((0, 0), (1, 5))]);
}

#[test]
fn tunnels_that_are_replaced_reopened_or_evicted_are_reported() {
    let config = ShardConfig {
        usage_records: true,
        tunnels_per_shard: 1,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    // Another client needs its place.
    let evicted = shard.connected_client(1);
    shard.now += ShardConfig::default().silent_after;
    let holder = shard.connected_client(2);
    assert_eq!(shard.next_usage().unwrap().identity, evicted.identity());

    // Another client takes over its address.
    shard.now += ShardConfig::default().silent_after;
    let mut newcomer = shard.client(3);
    newcomer.endpoint = holder.endpoint;
    shard.show_cookie(&mut newcomer);
    shard.connect(&mut newcomer);
    assert_eq!(shard.next_usage().unwrap().identity, holder.identity());

    // Its sessions were ended.
    shard.server.end_sessions();
    shard.pass(ROUND);
    assert_eq!(shard.next_usage().unwrap().identity, newcomer.identity());
    assert_eq!(shard.next_usage(), None);
}

#[test]
fn a_tunnel_that_was_not_used_is_not_reported() {
    let mut shard = shard();
    let mut client = shard.client(1);
    shard.answer(&mut client);
    revoke(&mut shard, &client);
    assert_eq!(shard.next_usage(), None);
}

/// As when a client shows a new token.
#[test]
fn new_session_data_begin_a_new_record() {
    let mut shard = shard();
    let mut client = shard.connected_client(1);
    let end = shard.now + Duration::from_secs(10);
    shard.registry.grant(client.identity(), 1, Some(end));
    receive(&mut shard, &mut client, b"before");
    // An equal grant begins none, whether it is asked for because of a new generation or at the end of the last one.
    let _other = shard.client(2);
    receive(&mut shard, &mut client, b"before");
    assert_eq!(shard.next_usage(), None);

    // Extended without a new generation: the earlier data hold until the end of the earlier grant.
    shard
        .registry
        .renew(client.identity(), end + end.duration_since(shard.now));
    shard.registry.relabel(client.identity(), 7);
    receive(&mut shard, &mut client, b"before");
    assert_eq!(shard.next_usage(), None);
    shard.now = end;
    receive(&mut shard, &mut client, b"after");
    let before = shard.next_usage().unwrap();
    assert_eq!(
        (before.session_data, before.traffic),
        (1, traffic((3, 18), (0, 0)))
    );

    revoke(&mut shard, &client);
    let after = shard.next_usage().unwrap();
    assert_eq!(
        (after.session_data, after.traffic),
        (7, traffic((1, 5), (0, 0)))
    );
    assert_eq!(after.since, end);
    assert_eq!(shard.server.counters().tunnels_created, 1);
}

#[test]
fn nothing_is_reported_by_default() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    receive(&mut shard, &mut client, b"packet");
    assert_eq!(shard.server.usage().count(), 1);
    revoke(&mut shard, &client);
    assert_eq!(shard.next_usage(), None);
}

#[test]
fn a_record_does_not_show_the_key_of_the_client() {
    let mut shard = shard();
    let client = shard.connected_client(1);
    let usage = shard.server.usage().next().unwrap();
    let debug = format!("{usage:?}");
    assert!(debug.contains(&client.remote().to_string()), "{debug}");
    assert!(!debug.contains("identity"), "{debug}");
}

//! Too many handshakes from one source.

use snaptun::{Consumed, DropReason, Endpoint, ShardConfig};

use crate::client::Received;
use crate::clock::now;
use crate::shard::{In, Shard};

const LIMIT: u64 = 5;

fn limited_shard() -> Shard {
    let config = ShardConfig {
        handshakes_per_second_per_ip: LIMIT,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

/// Uses up what the client's address may send.
fn flood(shard: &mut Shard, from: Endpoint) {
    let mut stranger = crate::client::Client::new(99, Shard::public_key());
    for _ in 0..LIMIT {
        let initiation = stranger.initiation();
        let fate = shard.incoming(&initiation, from);
        assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    }
}

#[test]
fn under_load_a_cookie_is_all_that_is_sent_and_lets_the_client_in() {
    let mut shard = limited_shard();
    let mut client = shard.client(1);
    flood(&mut shard, client.endpoint);

    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    assert_eq!(shard.server.tunnel_count(), 0);
    assert_eq!(shard.server.counters().cookie_replies_sent, 1);
    let mut sent = shard.take_sent();
    assert_eq!(sent.len(), 1);
    let reply = sent.remove(0);
    assert_eq!(reply.to, client.endpoint);
    assert!(reply.packet.len() <= initiation.len(), "no amplification");
    assert_eq!(client.receive(&reply.packet), Received::Cookie);

    // The next initiation shows the cookie.
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);
}

#[test]
fn a_cookie_is_good_for_its_address_only() {
    let mut shard = limited_shard();
    let mut client = shard.client(1);
    flood(&mut shard, client.endpoint);
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    let reply = shard.sent.pop_back().unwrap();
    client.receive(&reply.packet);

    let mut elsewhere = client.endpoint;
    elsewhere.remote.set_port(1);
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, elsewhere);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    assert_eq!(shard.server.tunnel_count(), 0);
}

#[test]
fn under_load_an_established_tunnel_goes_on() {
    let mut shard = limited_shard();
    let mut client = shard.connected_client(1);
    let mut neighbour = shard.client(2);
    // `connected_client` used one.
    for _ in 1..LIMIT {
        shard.answer(&mut client);
    }
    let rekey = client.initiation();
    let fate = shard.incoming(&rekey, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    assert_eq!(shard.sent.len(), 1, "the cookie is all that is sent");
    shard.sent.clear();

    let datagram = client.data(b"data");
    assert_eq!(
        shard.incoming(&datagram, client.endpoint),
        In::Delivered(b"data".to_vec(), 1)
    );
    // Another address is not affected.
    shard.connect(&mut neighbour);
}

#[test]
fn messages_with_a_wrong_code_do_not_count() {
    let mut shard = limited_shard();
    let mut client = shard.client(1);
    for _ in 0..2 * LIMIT {
        let mut initiation = client.initiation();
        initiation[120] ^= 1;
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::InvalidMac));
    }
    shard.connect(&mut client);
}

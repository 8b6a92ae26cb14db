//! Too many handshakes from one source.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint, ShardConfig};

use crate::client::{Client, Received};
use crate::clock::now;
use crate::shard::{In, Out, Shard};

const LIMIT: u64 = 5;

/// A shard whose budgets are all small and different.
fn small_shard() -> Shard {
    let config = ShardConfig {
        handshakes_per_second_per_ip: 2,
        handshakes_per_second: 6,
        verified_handshakes_per_second_per_ip: 3,
        verified_handshakes_per_second: 8,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

/// Initiations of a key that is not authorized, each from another address.
fn flood_from_anywhere(shard: &mut Shard, initiations: u8) -> Vec<In> {
    let mut stranger = Client::new(99, Shard::public_key());
    (0..initiations)
        .map(|n| {
            let remote = ([172, 16, 0, n], 1).into();
            let from = Endpoint {
                remote,
                ..stranger.endpoint
            };
            let initiation = stranger.initiation();
            let fate = shard.incoming(&initiation, from);
            shard.sent.clear();
            fate
        })
        .collect()
}

/// Lets the client have a cookie, by a flood.
fn give_cookie(shard: &mut Shard, client: &mut Client) {
    flood_from_anywhere(shard, 6);
    shard.show_cookie(client);
}

fn limited_shard() -> Shard {
    let config = ShardConfig {
        handshakes_per_second_per_ip: LIMIT,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

/// Uses up what the client's address may send.
fn flood(shard: &mut Shard, from: Endpoint) {
    let mut stranger = Client::new(99, Shard::public_key());
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
    assert_eq!(shard.server.counters().cookie_replies_sent(), 1);
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

/// Whoever is flooded answers late, and a full socket loses honest messages as well.
#[test]
fn addresses_that_flood_are_given_few_cookies_and_others_one_at_once() {
    let mut shard = small_shard();
    let mut client = shard.client(1);
    flood_from_anywhere(&mut shard, 6);

    let mut stranger = Client::new(99, Shard::public_key());
    let mut fates = [0, 0];
    for _ in 0..84 {
        let initiation = stranger.initiation();
        match shard.incoming(&initiation, stranger.endpoint) {
            In::Consumed(Consumed::CookieReplySent) => fates[0] += 1,
            In::Dropped(DropReason::CookieReplyLimit) => fates[1] += 1,
            other => panic!("{other:?}"),
        }
        shard.sent.clear();
    }
    // Four, and of the 80 that follow one of eight, so that nobody else there is kept out.
    assert_eq!(fates, [14, 70]);
    shard.show_cookie(&mut client);
    shard.connect(&mut client);

    // In the next second there are as many again.
    shard.now += Duration::from_secs(1);
    flood_from_anywhere(&mut shard, 6);
    for _ in 0..4 {
        shard.show_cookie(&mut stranger);
        stranger.restart();
    }
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

#[test]
fn a_flood_from_many_addresses_does_not_keep_a_newcomer_out() {
    let mut shard = small_shard();
    let mut client = shard.client(1);
    let fates = flood_from_anywhere(&mut shard, 100);
    assert!(
        fates[..6]
            .iter()
            .all(|fate| *fate == In::Dropped(DropReason::Unauthorized))
    );
    // The rest costs no Diffie-Hellman.
    assert!(
        fates[6..]
            .iter()
            .all(|fate| *fate == In::Consumed(Consumed::CookieReplySent))
    );
    assert_eq!(shard.server.counters().cookies_demanded_shard_limit, 94);

    give_cookie(&mut shard, &mut client);
    flood_from_anywhere(&mut shard, 100);
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);
    assert_eq!(shard.server.counters().handshakes_verified, 1);
}

#[test]
fn nobody_needs_a_cookie_once_the_flood_is_over() {
    let mut shard = small_shard();
    flood_from_anywhere(&mut shard, 100);
    shard.now += Duration::from_secs(1);
    shard.connected_client(1);
    assert_eq!(shard.server.counters().overloaded_seconds, 1);
    shard.now += Duration::from_secs(1);
    shard.connected_client(2);
    assert_eq!(shard.server.counters().overloaded_seconds, 1);
}

#[test]
fn an_address_with_a_cookie_has_a_limit_too() {
    let mut shard = small_shard();
    let mut client = shard.client(1);
    give_cookie(&mut shard, &mut client);
    for _ in 0..3 {
        shard.answer(&mut client);
    }
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::AddressHandshakeLimit));
    assert!(shard.sent.is_empty());
    shard.now += Duration::from_secs(1);
    shard.connect(&mut client);
}

#[test]
fn the_shard_has_a_limit_for_senders_with_cookies_too() {
    let mut shard = small_shard();
    let mut clients: Vec<_> = (0..9).map(|n| shard.client(n)).collect();
    for client in &mut clients {
        give_cookie(&mut shard, client);
    }
    let (last, others) = clients.split_last_mut().unwrap();
    for client in others {
        shard.answer(client);
    }
    let initiation = last.initiation();
    let fate = shard.incoming(&initiation, last.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::ShardHandshakeLimit));
    assert!(shard.sent.is_empty());
    shard.now += Duration::from_secs(1);
    shard.connect(last);
}

/// Clients use a cookie for 120 s.
#[test]
fn a_cookie_is_good_for_two_minutes_whenever_it_was_given() {
    for given_after in [0, 100, 119, 120, 121, 239] {
        let mut shard = small_shard();
        let mut client = shard.client(1);
        shard.now += Duration::from_secs(given_after);
        give_cookie(&mut shard, &mut client);

        shard.now += Duration::from_secs(120);
        flood_from_anywhere(&mut shard, 6);
        shard.answer(&mut client);
        shard.now += Duration::from_secs(120);
        flood_from_anywhere(&mut shard, 6);
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(
            fate,
            In::Consumed(Consumed::CookieReplySent),
            "given after {given_after} s"
        );
    }
}

#[test]
fn a_response_to_the_gateway_needs_no_cookie_in_a_flood() {
    let mut shard = small_shard();
    let mut client = shard.client(1);
    shard.answer(&mut client);
    shard.now += Duration::from_secs(6);
    let fate = shard.outgoing(b"waits", client.remote());
    assert_eq!(fate, Out::Waiting(1));
    let initiation = shard.sent.pop_back().expect("an initiation").packet;
    let Received::Answer(response) = client.receive(&initiation) else {
        panic!("the client did not answer");
    };
    flood_from_anywhere(&mut shard, 100);
    let fate = shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
}

/// An attacker with some addresses of its own gets cookies, and uses up that budget as well.
#[test]
fn who_has_a_tunnel_can_rekey_though_all_budgets_are_used_up() {
    let mut shard = small_shard();
    let mut client = shard.connected_client(1);
    let mut newcomer = shard.client(2);
    let mut attackers = [91, 92, 93].map(|identity| Client::new(identity, Shard::public_key()));
    flood_from_anywhere(&mut shard, 6);
    for cookie_wanted in attackers.iter_mut().chain([&mut client, &mut newcomer]) {
        shard.show_cookie(cookie_wanted);
    }
    let use_up = |shard: &mut Shard, attackers: &mut [Client]| {
        for attacker in attackers {
            for _ in 0..3 {
                let initiation = attacker.initiation();
                shard.incoming(&initiation, attacker.endpoint);
            }
        }
        flood_from_anywhere(shard, 6);
    };
    use_up(&mut shard, &mut attackers);

    let unused = newcomer.initiation();
    let fate = shard.incoming(&unused, newcomer.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::ShardHandshakeLimit));
    shard.connect(&mut client);
    // Once in the time after which clients try again, whoever writes this address into its messages.
    let again = client.initiation();
    let fate = shard.incoming(&again, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::ShardHandshakeLimit));
    shard.now += Duration::from_secs(5);
    flood_from_anywhere(&mut shard, 6);
    use_up(&mut shard, &mut attackers);
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);
}

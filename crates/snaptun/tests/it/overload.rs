//! Handshake floods from one source and from many.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint, ShardConfig};

use crate::clock::{new_shard, now};
use crate::screening::response_to_shard;
use testkit::shard::{Client, In, Received, Shard};

const LIMIT: u64 = 5;

/// Returns a shard whose budgets are all small and different.
pub(crate) fn small_shard() -> Shard {
    let config = ShardConfig {
        handshakes_per_ip_per_second: 2,
        handshakes_per_second: 6,
        verified_handshakes_per_ip_per_second: 3,
        verified_handshakes_per_second: 8,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

/// Sends initiations of an unauthorized identity, each from another address.
pub(crate) fn flood_from_anywhere(shard: &mut Shard, initiations: u8) -> Vec<In> {
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

/// Gives the client a cookie by means of a flood.
fn give_cookie(shard: &mut Shard, client: &mut Client) {
    flood_from_anywhere(shard, 6);
    shard.show_cookie(client);
}

fn limited_shard() -> Shard {
    let config = ShardConfig {
        handshakes_per_ip_per_second: LIMIT,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

/// Uses up the limit of the client's address.
fn flood(shard: &mut Shard, from: Endpoint) {
    let mut stranger = Client::new(99, Shard::public_key());
    for _ in 0..LIMIT {
        let initiation = stranger.initiation();
        let fate = shard.incoming(&initiation, from);
        assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    }
}

#[test]
fn under_load_only_a_cookie_is_sent_and_it_admits_the_client() {
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

    // The next initiation carries the cookie.
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);
}

#[test]
fn a_cookie_is_valid_only_for_its_address() {
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
fn under_load_an_established_tunnel_keeps_working() {
    let mut shard = limited_shard();
    let mut client = shard.connected_client(1);
    let mut neighbour = shard.client(2);
    // `connected_client` used one, and the last is answered beyond the limit because the tunnel is in use.
    for _ in 1..=LIMIT {
        shard.answer(&mut client);
    }
    let rekey = client.initiation();
    let fate = shard.incoming(&rekey, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    assert_eq!(shard.sent.len(), 1, "only the cookie is sent");
    shard.sent.clear();

    let datagram = client.data(b"data");
    assert_eq!(
        shard.incoming(&datagram, client.endpoint),
        In::Delivered(b"data".to_vec(), 1)
    );
    // Another address is not affected.
    shard.connect(&mut neighbour);
}

/// A flooded host answers late, and a full socket also loses honest messages.
#[test]
fn flooding_addresses_get_few_cookies_and_others_get_one_at_once() {
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
    // Four, and a random one in eight of the 80 that follow, so that other clients at the address still get some.
    assert!((5..50).contains(&fates[0]), "{fates:?}");
    shard.show_cookie(&mut client);
    shard.connect(&mut client);

    // The next second has the same number again.
    shard.now += Duration::from_secs(1);
    flood_from_anywhere(&mut shard, 6);
    for _ in 0..4 {
        shard.show_cookie(&mut stranger);
        stranger.restart();
    }
}

#[test]
fn messages_with_a_wrong_mac1_do_not_count() {
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
    assert_eq!(shard.server.counters().cookies_demanded_total_limit, 94);

    give_cookie(&mut shard, &mut client);
    flood_from_anywhere(&mut shard, 100);
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);
    assert_eq!(shard.server.counters().handshakes_verified, 1);
}

#[test]
fn no_cookie_is_needed_after_a_flood() {
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
fn an_address_with_a_cookie_has_a_limit() {
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
fn the_shard_has_a_limit_for_senders_with_cookies() {
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
    assert_eq!(fate, In::Dropped(DropReason::TotalHandshakeLimit));
    assert!(shard.sent.is_empty());
    shard.now += Duration::from_secs(1);
    shard.connect(last);
}

/// Clients use a cookie for 120 s.
#[test]
fn a_cookie_is_valid_for_at_least_two_minutes() {
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
    let response = response_to_shard(&mut shard, &mut client);
    flood_from_anywhere(&mut shard, 100);
    let fate = shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
}

/// Regression: once, 2,322,404 of 2,323,104 messages were answered.
#[test]
fn one_address_is_sent_a_bounded_number_of_cookies_in_a_second() {
    let mut shard = new_shard();
    let mut stranger = Client::new(99, Shard::public_key());
    let initiation = stranger.initiation();
    for _ in 0..2 {
        let mut cookies = 0;
        for port in 1..=5_000 {
            let from = Endpoint {
                remote: SocketAddr::from(([192, 0, 2, 1], port)),
                ..stranger.endpoint
            };
            match shard.incoming(&initiation, from) {
                In::Consumed(Consumed::CookieReplySent) => cookies += 1,
                In::Dropped(DropReason::Unauthorized | DropReason::CookieReplyLimit) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!((100..=500).contains(&cookies), "{cookies}");
        assert_eq!(shard.take_sent().len(), cookies);
        shard.now += Duration::from_secs(1);
    }
}

/// A host sends 700 initiations a second from other ports of the newcomer's address, and the newcomer always comes last
/// in its second, when everything that is given to the first messages is gone.
#[test]
fn a_flood_from_its_own_address_does_not_keep_out_a_newcomer_that_comes_last_in_every_second() {
    const TRIES: usize = 18;
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let initiation = Client::new(99, Shard::public_key()).initiation();
    let is_answered = (0..TRIES).any(|_| {
        // The client retries every 5 s while the flood goes on.
        for _ in 0..5 {
            shard.now += Duration::from_secs(1);
            for port in 1..=700 {
                let from = Endpoint {
                    remote: SocketAddr::new(client.remote().ip(), port),
                    ..client.endpoint
                };
                let _fate = shard.incoming(&initiation, from);
            }
        }
        shard.sent.clear();
        let again = client.initiation();
        let fate = shard.incoming(&again, client.endpoint);
        for answer in shard.take_sent() {
            client.receive(&answer.packet);
        }
        matches!(fate, In::Consumed(Consumed::HandshakeAnswered { .. }))
    });
    assert!(is_answered);
}

/// A byte with the same value in all replies of a worker would show which ports belong to one worker.
#[test]
fn no_byte_of_the_nonce_is_constant_over_cookie_replies() {
    const NONCE: std::ops::Range<usize> = 8..32;
    let mut shard = new_shard();
    let mut stranger = Client::new(99, Shard::public_key());
    let initiation = stranger.initiation();
    let mut values = vec![HashSet::new(); NONCE.len()];
    for n in 0..1_200u16 {
        let [high, low] = n.to_be_bytes();
        for port in 1..=4 {
            let from = Endpoint {
                remote: SocketAddr::from(([172, 16, high, low], port)),
                ..stranger.endpoint
            };
            shard.incoming(&initiation, from);
        }
    }
    let replies = shard.take_sent();
    assert!(replies.len() > 1_000, "{}", replies.len());
    for reply in &replies {
        for (values, byte) in values.iter_mut().zip(&reply.packet[NONCE]) {
            values.insert(*byte);
        }
    }
    assert!(values.iter().all(|values| values.len() > 128));
}

/// With counts per shard, a sender that used up its address's limit at one shard could see which other ports of its
/// address belong to the same shard.
#[test]
fn the_limit_of_an_address_holds_across_shards() {
    let mut shard = limited_shard();
    let mut sibling = shard.sibling();
    let mut stranger = Client::new(99, Shard::public_key());
    let initiation = stranger.initiation();
    let from = |port| Endpoint {
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
        ..stranger.endpoint
    };
    for port in 0..LIMIT {
        let fate = shard.incoming(&initiation, from(1 + port as u16));
        assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    }
    for shard in [&mut shard, &mut sibling] {
        let fate = shard.incoming(&initiation, from(40_000));
        assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    }
    let elsewhere = Endpoint {
        remote: SocketAddr::from(([192, 0, 2, 2], 40_000)),
        ..stranger.endpoint
    };
    let fate = sibling.incoming(&initiation, elsewhere);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
}

#[test]
fn a_budget_holds_across_shards() {
    let mut shard = small_shard();
    let mut sibling = shard.sibling();
    flood_from_anywhere(&mut shard, 100);
    let mut client = sibling.client(1);
    sibling.show_cookie(&mut client);
    sibling.connect(&mut client);
    sibling.now += Duration::from_secs(1);
    sibling.connected_client(2);
    let overloaded = [shard, sibling].map(|shard| shard.server.counters().overloaded_seconds);
    assert_eq!(overloaded, [0, 1]);
}

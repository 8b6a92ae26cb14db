//! Handshake limit of an identity.

use std::net::SocketAddr;
use std::time::Duration;

use snaptun::{Consumed, DropReason, ShardConfig};

use crate::clock::now;
use crate::forging::TIMESTAMP;
use testkit::messages::write_mac1;
use testkit::shard::{Client, In, Shard};

const LIMIT: u64 = 5;

fn shard() -> Shard {
    let config = ShardConfig {
        handshakes_per_identity_per_second: LIMIT,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

/// Returns a socket of identity 1.
fn socket(shard: &Shard, port: u16) -> Client {
    let mut socket = shard.client(1);
    socket.endpoint.remote = SocketAddr::from(([192, 0, 2, 1], port));
    socket
}

#[test]
fn an_identity_with_many_sockets_is_answered_up_to_its_limit() {
    let mut shard = shard();
    let mut other = shard.client(2);
    for second in 0..2 {
        for n in 0..20 {
            let mut socket = socket(&shard, 100 * second + n + 1);
            let initiation = socket.initiation();
            let fate = shard.incoming(&initiation, socket.endpoint);
            let expected = if u64::from(n) < LIMIT {
                In::Consumed(Consumed::HandshakeAnswered { new_tunnel: true })
            } else {
                In::Dropped(DropReason::IdentityHandshakeLimit)
            };
            assert_eq!(fate, expected);
        }
        shard.sent.clear();
        shard.connect(&mut other);
        shard.now += Duration::from_secs(1);
    }
    assert_eq!(shard.server.tunnel_count(), 2 * LIMIT as usize + 1);
}

/// Anyone can claim any identity in an initiation; only the timestamp proves it.
#[test]
fn false_claims_and_replays_do_not_use_up_an_identitys_limit() {
    let mut shard = shard();
    let mut client = socket(&shard, 1);
    let mut forged = client.initiation();
    forged[TIMESTAMP.start] ^= 1;
    write_mac1(&mut forged, &Shard::public_key());
    let captured = client.initiation();
    let fate = shard.incoming(&captured, client.endpoint);
    assert!(matches!(fate, In::Consumed(_)), "{fate:?}");
    for _ in 0..2 * LIMIT {
        let fate = shard.incoming(&forged, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Forged));
        let fate = shard.incoming(&captured, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::ReplayedInitiation));
    }
    shard.sent.clear();
    shard.connect(&mut client);
}

#[test]
fn rekeys_count_against_the_limit() {
    let mut shard = shard();
    let mut client = socket(&shard, 1);
    for _ in 0..LIMIT {
        shard.answer(&mut client);
    }
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::IdentityHandshakeLimit));
    shard.now += Duration::from_secs(1);
    shard.connect(&mut client);
}

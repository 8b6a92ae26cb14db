//! Replays of captured messages.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint, ReplayGuard, ShardConfig};

use crate::clock::{new_shard, now, wall};
use crate::forging::{TIMESTAMP, disguised};
use testkit::messages::write_mac1;
use testkit::shard::{Client, In, Out, Received, Shard};

const NEW_TUNNEL: In = In::Consumed(Consumed::HandshakeAnswered { new_tunnel: true });
const KNOWN_TUNNEL: In = In::Consumed(Consumed::HandshakeAnswered { new_tunnel: false });
const REPLAYED: In = In::Dropped(DropReason::ReplayedInitiation);

fn elsewhere(client: &Client) -> Endpoint {
    Endpoint {
        remote: "10.9.9.9:9".parse().unwrap(),
        ..client.endpoint
    }
}

/// Replays a captured initiation from these addresses, unchanged and with changed fields.
fn replay(shard: &mut Shard, initiation: &[u8], from: &[Endpoint]) {
    let tunnels = shard.server.tunnel_count();
    for from in from {
        for copy in [initiation.to_vec(), disguised(initiation)] {
            assert_eq!(shard.incoming(&copy, *from), REPLAYED);
        }
    }
    assert!(shard.sent.is_empty(), "a replay was answered");
    assert_eq!(shard.server.tunnel_count(), tunnels);
}

#[test]
fn a_replayed_initiation_has_no_effect_and_gets_no_answer() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, NEW_TUNNEL);
    shard.sent.clear();
    replay(
        &mut shard,
        &initiation,
        &[client.endpoint, elsewhere(&client)],
    );
}

#[test]
fn a_replay_at_another_worker_has_no_effect() {
    let mut shard = new_shard();
    let mut sibling = shard.sibling();
    let mut client = shard.client(1);
    let initiation = client.initiation();
    shard.incoming(&initiation, client.endpoint);
    replay(
        &mut sibling,
        &initiation,
        &[client.endpoint, elsewhere(&client)],
    );
    // A new initiation of the client is accepted there.
    sibling.connect(&mut client);
}

#[test]
fn a_replayed_rekey_has_no_effect() {
    let mut shard = new_shard();
    let mut sibling = shard.sibling();
    let mut client = shard.connected_client(1);
    let rekey = client.initiation();
    let fate = shard.incoming(&rekey, client.endpoint);
    assert_eq!(fate, KNOWN_TUNNEL);
    shard.sent.clear();
    replay(&mut shard, &rekey, &[client.endpoint, elsewhere(&client)]);
    replay(&mut sibling, &rekey, &[elsewhere(&client)]);
}

#[test]
fn a_replay_does_not_restore_a_removed_tunnel() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let initiation = client.initiation();
    shard.incoming(&initiation, client.endpoint);
    shard.sent.clear();
    shard.registry.revoke(client.identity());
    shard.update_timers();
    shard.now += ShardConfig::default().timer_round;
    shard.update_timers();
    assert_eq!(shard.server.tunnel_count(), 0);

    shard.registry.grant(client.identity(), 1, None);
    replay(
        &mut shard,
        &initiation,
        &[client.endpoint, elsewhere(&client)],
    );
    shard.connect(&mut client);
}

/// The tunnel has seen only older initiations, and would accept this one as new.
#[test]
fn a_replay_of_one_sockets_initiation_does_not_change_the_tunnel_of_another() {
    let mut shard = new_shard();
    let mut first = shard.connected_client(1);
    let remote = "10.0.0.1:40001".parse().unwrap();
    let mut second = Client::at(remote, 1, Shard::public_key());
    let initiation = second.initiation();
    shard.incoming(&initiation, second.endpoint);
    shard.sent.clear();

    replay(&mut shard, &initiation, &[first.endpoint]);
    let datagram = first.data(b"undisturbed");
    assert_eq!(
        shard.incoming(&datagram, first.endpoint),
        In::Delivered(b"undisturbed".to_vec(), 1)
    );
    assert_eq!(
        shard.outgoing(b"both ways", first.remote()),
        Out::Encapsulated(1)
    );
    assert_eq!(shard.deliver_to(&mut first), [b"both ways"]);
}

#[test]
fn the_sockets_of_one_identity_connect_in_any_order_at_any_worker() {
    const SOCKETS: u16 = 32;
    let shard = new_shard();
    let mut shards = [shard.sibling(), shard.sibling(), shard];
    let identity = shards[0].client(1).identity();
    let mut sockets: Vec<_> = (0..SOCKETS)
        .map(|port| {
            let remote = ([10, 0, 0, 1], 40_000 + port).into();
            Client::at(remote, 1, Shard::public_key())
        })
        .collect();
    assert!(sockets.iter().all(|socket| socket.identity() == identity));
    let initiations: Vec<_> = sockets.iter_mut().map(Client::initiation).collect();

    for (n, (socket, initiation)) in sockets.iter().zip(&initiations).enumerate().rev() {
        let fate = shards[n % 3].incoming(initiation, socket.endpoint);
        assert_eq!(fate, NEW_TUNNEL);
    }
    for (n, initiation) in initiations.iter().enumerate() {
        let shard = &mut shards[(n + 1) % 3];
        shard.sent.clear();
        replay(shard, initiation, &[elsewhere(&sockets[n])]);
    }
}

#[test]
fn a_replay_gets_no_cookie() {
    let config = ShardConfig {
        handshakes_per_ip_per_second: 1,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let mut client = shard.client(1);
    let initiation = client.initiation();
    shard.incoming(&initiation, client.endpoint);
    shard.sent.clear();
    for _ in 0..10 {
        replay(&mut shard, &initiation, &[client.endpoint]);
    }
    assert_eq!(shard.server.counters().cookie_replies_sent(), 0);
}

#[test]
fn a_damaged_copy_that_comes_first_does_not_keep_the_original_out() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let initiation = client.initiation();
    let mut damaged = initiation.clone();
    damaged[TIMESTAMP.start] ^= 1;
    write_mac1(&mut damaged, &Shard::public_key());
    let fate = shard.incoming(&damaged, elsewhere(&client));
    assert_eq!(fate, In::Dropped(DropReason::Forged));
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, NEW_TUNNEL);
}

/// A refused identity leaves no state: the client may retry as soon as it is authorized.
#[test]
fn a_refused_initiation_may_be_sent_again() {
    let mut shard = new_shard();
    let mut client = Client::new(1, Shard::public_key());
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    shard.registry.grant(client.identity(), 1, None);
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, NEW_TUNNEL);
}

#[test]
fn messages_reflected_to_the_gateway_are_dropped() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not accept the response");
    };
    shard.incoming(&keepalive, client.endpoint);
    assert_eq!(
        shard.outgoing(b"packet", client.remote()),
        Out::Encapsulated(1)
    );
    let data = shard.sent.pop_back().unwrap().packet.to_vec();
    let mut strict = Shard::new(
        now(),
        ShardConfig {
            handshakes_per_ip_per_second: 0,
            ..ShardConfig::default()
        },
    );
    assert_eq!(
        strict.incoming(&client.initiation(), client.endpoint),
        In::Consumed(Consumed::CookieReplySent)
    );
    let cookie = strict.sent.pop_back().unwrap().packet.to_vec();

    for (reflected, reason) in [
        // It answers the client, not an initiation of the gateway.
        (response, DropReason::Unsolicited),
        (cookie, DropReason::Unsolicited),
        (data, DropReason::NoSession),
    ] {
        let fate = shard.incoming(&reflected, client.endpoint);
        assert_eq!(fate, In::Dropped(reason));
        let fate = shard.incoming(&reflected, elsewhere(&client));
        assert_eq!(fate, In::Dropped(DropReason::NoTunnel));
    }
    assert!(shard.sent.is_empty());
}

/// The client's initiations are reordered, and the tunnel accepts only the latest.
#[test]
fn an_initiation_that_was_overtaken_is_stale() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let [first, second] = [client.initiation(), client.initiation()];
    assert_eq!(shard.incoming(&second, client.endpoint), NEW_TUNNEL);
    shard.sent.clear();
    let fate = shard.incoming(&first, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::StaleInitiation));
    assert!(shard.sent.is_empty());
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[test]
fn a_handshake_with_a_clock_far_ahead_is_refused_and_locks_out_no_client() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    // From the gateway's point of view.
    shard.set_clock(Some(wall() - 40 * YEAR));
    for _ in 0..2 {
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::FutureTimestamp));
    }
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.tunnel_count(), 0);
    shard.set_clock(Some(wall()));
    shard.connect(&mut client);
    // Also in an existing tunnel.
    shard.set_clock(Some(wall() - 40 * YEAR));
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::FutureTimestamp));
}

#[test]
fn a_gateway_without_a_trusted_clock_accepts_any_timestamp() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    shard.set_clock(None);
    shard.connect(&mut client);
    // From now on the gateway's clock is behind.
    shard.set_clock(Some(wall() - YEAR));
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::FutureTimestamp));
    shard.set_clock(Some(wall() - ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT / 2));
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, KNOWN_TUNNEL);
}

//! Packets that wait for a session.

use std::net::SocketAddr;

use snaptun::{Consumed, DropReason, Payload, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, In, Out, Received, Shard};

#[test]
fn nothing_is_sent_in_a_session_that_the_client_has_not_confirmed() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    for n in 0..100u8 {
        assert_eq!(shard.outgoing(&[n], client.remote()), Out::Waiting(1));
    }
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.waiting_packets(), 100);

    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not accept the response");
    };
    let fate = shard.incoming(&keepalive, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::Keepalive));
    assert!(
        shard
            .sent
            .iter()
            .all(|transmit| transmit.payload == Payload::Forwarded)
    );
    let expected: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n]).collect();
    assert_eq!(shard.deliver_to(&mut client), expected);
    assert_eq!(shard.server.waiting_packets(), 0);
    assert_eq!(shard.server.counters().waiting_sent, 100);
}

/// The client's keepalive is lost, or overtaken by its first packet.
#[test]
fn a_first_data_packet_confirms_the_session() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    assert_eq!(shard.outgoing(b"waits", client.remote()), Out::Waiting(1));
    client.receive(&response);
    let datagram = client.data(b"first");
    assert_eq!(
        shard.incoming(&datagram, client.endpoint),
        In::Delivered(b"first".to_vec(), 1)
    );
    assert_eq!(shard.deliver_to(&mut client), [b"waits"]);
}

#[test]
fn dropped_messages_do_not_confirm_a_session() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    client.receive(&response);
    assert_eq!(shard.outgoing(b"waits", client.remote()), Out::Waiting(1));
    let mut forged = client.data(b"");
    *forged.last_mut().unwrap() ^= 1;
    let fate = shard.incoming(&forged, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Forged));
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.waiting_packets(), 1);
}

#[test]
fn during_a_rekey_packets_leave_in_the_old_session_until_the_new_one_is_confirmed() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let response = shard.answer(&mut client);
    // The client has not seen the response, so it can decrypt only the old session.
    assert_eq!(
        shard.outgoing(b"old session", client.remote()),
        Out::Encapsulated(1)
    );
    assert_eq!(shard.deliver_to(&mut client), [b"old session"]);

    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not accept the response");
    };
    shard.incoming(&keepalive, client.endpoint);
    assert_eq!(
        shard.outgoing(b"new session", client.remote()),
        Out::Encapsulated(1)
    );
    let sent = shard.take_sent();
    // The client's session index: at byte 8 in the response, at byte 4 in data.
    assert_eq!(sent[0].packet[4..8], response[8..12]);
    assert_eq!(
        client.receive(&sent[0].packet),
        Received::Data(b"new session".to_vec())
    );
}

/// Number of sessions that `Tunn` keeps; another one takes the place of the first.
const SESSIONS: usize = 8;

#[test]
fn a_session_that_replaced_the_confirmed_one_is_not_used_before_it_is_confirmed() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    for _ in 1..SESSIONS {
        shard.answer(&mut client);
        assert_eq!(
            shard.outgoing(b"packet", client.remote()),
            Out::Encapsulated(1)
        );
        assert_eq!(shard.deliver_to(&mut client), [b"packet"]);
    }
    let response = shard.answer(&mut client);
    assert_eq!(shard.outgoing(b"waits", client.remote()), Out::Waiting(1));
    assert!(shard.sent.is_empty());

    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not accept the response");
    };
    shard.incoming(&keepalive, client.endpoint);
    assert_eq!(shard.deliver_to(&mut client), [b"waits"]);
}

#[test]
fn the_number_of_waiting_packets_per_tunnel_is_limited() {
    let mut shard = Shard::new(
        now(),
        ShardConfig {
            waiting_packets_per_tunnel: 3,
            ..ShardConfig::default()
        },
    );
    let mut client = shard.client(1);
    shard.answer(&mut client);
    for n in 0..3u8 {
        assert_eq!(shard.outgoing(&[n], client.remote()), Out::Waiting(1));
    }
    let fate = shard.outgoing(b"too many", client.remote());
    assert_eq!(
        fate,
        Out::Dropped(DropReason::WaitingQueueFull, b"too many".to_vec())
    );
    assert_eq!(shard.server.waiting_packets(), 3);
}

#[test]
fn the_number_of_waiting_bytes_per_tunnel_is_limited() {
    let mut shard = Shard::new(
        now(),
        ShardConfig {
            waiting_bytes_per_tunnel: 1000,
            ..ShardConfig::default()
        },
    );
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    assert_eq!(shard.outgoing(&[1; 600], client.remote()), Out::Waiting(1));
    let fate = shard.outgoing(&[2; 401], client.remote());
    assert_eq!(
        fate,
        Out::Dropped(DropReason::WaitingQueueFull, vec![2; 401])
    );
    assert_eq!(shard.outgoing(&[3; 400], client.remote()), Out::Waiting(1));

    // Packets that left make room.
    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not accept the response");
    };
    shard.incoming(&keepalive, client.endpoint);
    assert_eq!(shard.deliver_to(&mut client), [vec![1; 600], vec![3; 400]]);
    assert_eq!(shard.server.waiting_packets(), 0);
    for _ in 0..SESSIONS {
        shard.answer(&mut client);
    }
    assert_eq!(shard.outgoing(&[4; 1000], client.remote()), Out::Waiting(1));
}

#[test]
fn the_number_of_waiting_bytes_per_shard_is_limited() {
    let mut shard = Shard::new(
        now(),
        ShardConfig {
            waiting_bytes_per_shard: 1000,
            ..ShardConfig::default()
        },
    );
    let mut first = shard.client(1);
    let mut second = shard.client(2);
    shard.answer(&mut first);
    shard.answer(&mut second);
    assert_eq!(shard.outgoing(&[1; 600], first.remote()), Out::Waiting(1));
    let fate = shard.outgoing(&[2; 600], second.remote());
    assert_eq!(
        fate,
        Out::Dropped(DropReason::WaitingQueueFull, vec![2; 600])
    );

    // The first tunnel is removed, with its waiting packet.
    shard.registry.revoke(first.identity());
    let fate = shard.outgoing(b"revoked", first.remote());
    assert_eq!(
        fate,
        Out::Dropped(DropReason::Unauthorized, b"revoked".to_vec())
    );
    assert_eq!(shard.server.counters().waiting_discarded_revoked, 1);
    assert_eq!(shard.outgoing(&[2; 600], second.remote()), Out::Waiting(2));
    assert_eq!(shard.server.waiting_packets(), 1);
}

/// Returns true if a packet of `bytes` for a client waits, false if it is refused.
fn waits(shard: &mut Shard, client: &Client, bytes: usize) -> bool {
    matches!(
        shard.outgoing(&vec![1; bytes], client.remote()),
        Out::Waiting(_)
    )
}

/// Returns a client of the identity at another address, with a half-open tunnel.
fn half_open(shard: &mut Shard, identity: u16, port: u16) -> Client {
    let remote = SocketAddr::from(([10, 1, 0, 1], port));
    let mut client = Client::at(remote, identity, Shard::public_key());
    shard.registry.grant(client.identity(), 1, None);
    shard.answer(&mut client);
    shard.sent.clear();
    client
}

/// Returns a client with a tunnel in use in which the gateway has no usable session.
fn used_without_session(shard: &mut Shard, identity: u16) -> Client {
    let mut client = shard.connected_client(identity);
    for _ in 0..SESSIONS {
        shard.answer(&mut client);
    }
    shard.sent.clear();
    client
}

#[test]
fn a_few_identities_with_many_half_open_tunnels_leave_room_for_others() {
    let config = ShardConfig {
        handshakes_per_ip_per_second: u64::MAX,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let other = used_without_session(&mut shard, 100);
    let mut newcomer = shard.client(101);
    for identity in 1..=4 {
        for port in 1..=64 {
            let client = half_open(&mut shard, identity, 100 * identity + port);
            while waits(&mut shard, &client, 1024) {}
        }
    }
    assert!(waits(&mut shard, &other, 1024));
    shard.answer(&mut newcomer);
    assert!(waits(&mut shard, &newcomer, 1024));
    let limits = ShardConfig::default();
    assert!(shard.server.waiting_bytes() < limits.waiting_bytes_per_shard / 8);
}

#[test]
fn an_identity_has_a_limit_of_waiting_bytes_over_all_its_tunnels() {
    let config = ShardConfig {
        waiting_bytes_per_identity: 1000,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let client = used_without_session(&mut shard, 1);
    let second = half_open(&mut shard, 1, 7);
    let other = half_open(&mut shard, 2, 8);
    assert!(waits(&mut shard, &client, 600));
    assert!(!waits(&mut shard, &second, 401));
    assert!(waits(&mut shard, &second, 400));
    assert!(!waits(&mut shard, &client, 1));
    assert!(waits(&mut shard, &other, 600));
}

#[test]
fn half_open_tunnels_have_a_limit_of_waiting_bytes_that_use_of_a_tunnel_frees() {
    let config = ShardConfig {
        waiting_bytes_half_open: 1000,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let used = used_without_session(&mut shard, 1);
    let mut client = shard.client(2);
    let response = shard.answer(&mut client);
    let other = half_open(&mut shard, 3, 8);
    assert!(waits(&mut shard, &client, 1000));
    assert!(!waits(&mut shard, &other, 1));
    assert!(waits(&mut shard, &used, 1000));

    shard.sent.clear();
    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not accept the response");
    };
    shard.incoming(&keepalive, client.endpoint);
    assert_eq!(shard.deliver_to(&mut client), [vec![1; 1000]]);
    assert!(waits(&mut shard, &other, 1000));
}

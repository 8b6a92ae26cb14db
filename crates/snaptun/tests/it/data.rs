//! Packets in both directions.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Payload};

use crate::clock::new_shard;
use testkit::shard::{Client, In, Out, Received, Shard};

#[test]
fn packets_arrive_byte_for_byte_in_both_directions() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    // Packets are neither padded to a multiple of 16 nor cut to the length in an IP header.
    for len in (1..70).chain([1399, 1400, 9184, 65_000]) {
        let packet: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let datagram = client.data(&packet);
        let fate = shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.clone(), 1));
        assert_eq!(
            shard.outgoing(&packet, client.remote()),
            Out::Encapsulated(1)
        );
        let sent = shard.take_sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].payload, Payload::Forwarded);
        assert_eq!(sent[0].to, client.endpoint);
        assert_eq!(sent[0].packet.len(), packet.len() + 32);
        assert_eq!(client.receive(&sent[0].packet), Received::Data(packet));
    }
}

#[test]
fn packets_that_overtake_each_other_are_delivered() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let datagrams: Vec<_> = (0..10u8).map(|n| client.data(&[n])).collect();
    for n in [3, 0, 9, 1, 2, 8, 7, 4, 6, 5u8] {
        let fate = shard.incoming(&datagrams[usize::from(n)], client.endpoint);
        assert_eq!(fate, In::Delivered(vec![n], 1));
    }
}

#[test]
fn a_keepalive_is_not_delivered() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let keepalive = client.data(b"");
    let fate = shard.incoming(&keepalive, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::Keepalive));
    assert!(shard.sent.is_empty());
}

#[test]
fn a_replayed_data_packet_is_dropped() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let datagram = client.data(b"once");
    assert_eq!(
        shard.incoming(&datagram, client.endpoint),
        In::Delivered(b"once".to_vec(), 1)
    );
    let fate = shard.incoming(&datagram, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Replayed));
}

#[test]
fn a_forged_data_packet_is_dropped_without_effect() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let genuine = client.data(b"genuine");
    for byte in 8..genuine.len() {
        let mut forged = genuine.clone();
        forged[byte] ^= 0x80;
        let fate = shard.incoming(&forged, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Forged), "byte {byte}");
    }
    let fate = shard.incoming(&genuine, client.endpoint);
    assert_eq!(fate, In::Delivered(b"genuine".to_vec(), 1));
}

#[test]
fn data_for_an_unknown_session_is_dropped() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let mut datagram = client.data(b"data");
    datagram[4] ^= 1;
    let fate = shard.incoming(&datagram, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoSession));
}

#[test]
fn a_packet_for_an_address_without_a_tunnel_is_returned() {
    let mut shard = new_shard();
    let to = "10.9.9.9:9".parse().unwrap();
    let fate = shard.outgoing(b"packet", to);
    assert_eq!(fate, Out::Dropped(DropReason::NoTunnel, b"packet".to_vec()));
}

#[test]
fn an_empty_packet_is_not_sent_as_a_keepalive() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    assert_eq!(
        shard.outgoing(b"", client.remote()),
        Out::Dropped(DropReason::Empty, Vec::new())
    );
    assert!(shard.sent.is_empty());
}

#[test]
fn a_packet_of_the_gateway_arrives_and_counts_as_protocol() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    assert!(shard.send_own(b"error", client.remote()));
    assert_eq!(shard.sent[0].payload, Payload::Protocol);
    assert_eq!(shard.deliver_to(&mut client), [b"error"]);
}

#[test]
fn a_packet_of_the_gateway_does_not_wait() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    assert!(!shard.send_own(b"no tunnel", client.remote()));
    shard.answer(&mut client);
    assert!(!shard.send_own(b"no confirmed session", client.remote()));
    assert!(!shard.send_own(b"", client.remote()));
    assert_eq!(shard.server.waiting_packets(), 0);
    assert!(shard.sent.is_empty());
}

#[test]
fn packets_for_a_peer_that_was_silent_for_15_seconds_are_marked() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let marked = |shard: &mut Shard, client: &Client| {
        assert_eq!(
            shard.outgoing(b"packet", client.remote()),
            Out::Encapsulated(1)
        );
        shard.take_sent().remove(0).to_silent_peer
    };
    shard.now += Duration::from_secs(14);
    assert!(!marked(&mut shard, &client));
    shard.now += Duration::from_secs(1);
    assert!(marked(&mut shard, &client));

    let keepalive = client.data(b"");
    shard.incoming(&keepalive, client.endpoint);
    assert!(!marked(&mut shard, &client));
}

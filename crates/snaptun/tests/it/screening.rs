//! Handshake messages that are refused before they are queued.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Incoming, Packet};

use crate::clock::new_shard;
use testkit::shard::{Client, In, Out, Received, Shard};

/// Position of the index in a response that identifies the initiation it answers.
const RECEIVER_INDEX: usize = 8;

/// Lets a shard begin a handshake in a half-open tunnel, and returns the client's response.
pub(crate) fn response_to_shard(shard: &mut Shard, client: &mut Client) -> Vec<u8> {
    shard.answer(client);
    shard.now += Duration::from_secs(6);
    let fate = shard.outgoing(b"waits", client.remote());
    assert_eq!(fate, Out::Waiting(1));
    let initiation = shard.sent.pop_back().expect("an initiation").packet;
    let Received::Answer(response) = client.receive(&initiation) else {
        panic!("the client did not answer");
    };
    response
}

#[test]
fn datagrams_that_are_not_messages_are_malformed() {
    let shard = new_shard();
    let mut client = shard.client(1);
    let initiation = client.initiation();
    let screen = |datagram: &[u8]| shard.screen(client.remote(), datagram);
    for datagram in [&initiation[..147], &[1, 0, 0, 1], &[9; 148], &[]] {
        assert_eq!(screen(datagram), Err(DropReason::Malformed));
    }
    let data = [&[4, 0, 0, 0][..], &[0; 28]].concat();
    assert_eq!(screen(&data), Ok(()), "data is not screened");
}

#[test]
fn an_initiation_passes_only_with_a_valid_mac1() {
    let shard = new_shard();
    let mut client = shard.client(1);
    let mut initiation = client.initiation();
    let remote = client.remote();
    assert_eq!(shard.screen(remote, &initiation), Ok(()));
    for byte in [4, 50, 115, 116, 131] {
        initiation[byte] ^= 1;
        let verdict = shard.screen(remote, &initiation);
        assert_eq!(verdict, Err(DropReason::InvalidMac), "byte {byte}");
        initiation[byte] ^= 1;
    }
}

#[test]
fn a_response_passes_if_the_tunnel_awaits_it() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let neighbour = shard.connected_client(2);
    let response = response_to_shard(&mut shard, &mut client);
    let screen =
        |shard: &Shard, client: &Client, response: &[u8]| shard.screen(client.remote(), response);
    assert_eq!(screen(&shard, &client, &response), Ok(()));

    let stranger = Client::new(3, Shard::public_key());
    let verdict = screen(&shard, &stranger, &response);
    assert_eq!(verdict, Err(DropReason::NoTunnel));
    let verdict = screen(&shard, &neighbour, &response);
    assert_eq!(verdict, Err(DropReason::Unsolicited));
    let mut another = response.clone();
    another[RECEIVER_INDEX] ^= 1;
    let verdict = screen(&shard, &client, &another);
    assert_eq!(verdict, Err(DropReason::Unsolicited));
    let mut damaged = response.clone();
    damaged[20] ^= 1;
    let verdict = screen(&shard, &client, &damaged);
    assert_eq!(verdict, Err(DropReason::InvalidMac));

    // Screening changed no state.
    let fate = shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
    let verdict = screen(&shard, &client, &response);
    assert_eq!(verdict, Err(DropReason::Unsolicited), "answered");
}

#[test]
fn a_cookie_reply_passes_if_it_answers_the_tunnels_last_handshake_message() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let response = shard.answer(&mut client);
    let mut reply = vec![0; 64];
    reply[0] = 3;
    reply[4..8].copy_from_slice(&response[4..8]);
    let remote = client.remote();
    assert_eq!(shard.screen(remote, &reply), Ok(()));
    reply[4] ^= 1;
    let verdict = shard.screen(remote, &reply);
    assert_eq!(verdict, Err(DropReason::Unsolicited));
    let elsewhere = "192.0.2.1:1".parse().unwrap();
    let verdict = shard.screen(elsewhere, &reply);
    assert_eq!(verdict, Err(DropReason::NoTunnel));
}

#[test]
fn a_screened_message_is_handled_without_checking_its_mac1_again() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let mut initiation = client.initiation();
    // In mac1, which nothing else depends on.
    initiation[120] ^= 1;
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::InvalidMac));
    let packet = Packet::copy_from(&initiation[..]);
    let from = client.endpoint;
    let fate = shard
        .server
        .handle_screened_packet(shard.now, packet, from, &mut shard.sent);
    assert!(matches!(
        fate,
        Incoming::Consumed(Consumed::HandshakeAnswered { new_tunnel: true })
    ));
    // A message that is too short is still refused.
    let packet = Packet::copy_from(&initiation[..147]);
    let fate = shard
        .server
        .handle_screened_packet(shard.now, packet, from, &mut shard.sent);
    assert!(matches!(fate, Incoming::Dropped(DropReason::Malformed)));
}

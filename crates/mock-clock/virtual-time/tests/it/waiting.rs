//! Packets that wait for the confirmation of a session.

use std::time::Duration;

use snaptun::Consumed;

use crate::world::{LOOK, TICK, World};
use testkit::shard::{In, Out, Received};

/// `Rekey-Timeout` (WireGuard whitepaper, section 6.1).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// The client received the response, but its keepalive was lost.
#[test]
fn an_unconfirmed_session_is_replaced_by_one_that_the_gateway_begins() {
    let mut world = World::new();
    let mut client = world.shard.client(1);
    let response = world.shard.answer(&mut client);
    assert!(matches!(client.receive(&response), Received::Answer(_)));
    assert_eq!(
        world.shard.outgoing(b"waits", client.remote()),
        Out::Waiting(1)
    );
    assert!(world.run_shard(REKEY_TIMEOUT - TICK).is_empty());

    let sent = world.run_shard(LOOK);
    assert_eq!(sent.len(), 1);
    world.shard.sent.extend(sent);
    assert_eq!(world.exchange(&mut client), [b"waits"]);
    assert_eq!(world.shard.server.counters().handshakes_initiated, 1);
    assert_eq!(world.shard.server.counters().handshakes_completed, 1);
}

/// The response was lost, and the client retries before the gateway would.
#[test]
fn a_client_that_retries_receives_the_waiting_packets() {
    let mut world = World::new();
    let mut client = world.shard.client(1);
    world.shard.answer(&mut client);
    assert_eq!(
        world.shard.outgoing(b"waits", client.remote()),
        Out::Waiting(1)
    );
    world.run_shard(REKEY_TIMEOUT - TICK);
    world.shard.connect(&mut client);
    assert_eq!(world.exchange(&mut client), [b"waits"]);
    assert_eq!(world.shard.server.counters().handshakes_initiated, 0);
}

#[test]
fn an_unconfirmed_tunnel_without_waiting_packets_causes_no_messages() {
    let mut world = World::new();
    let mut client = world.shard.client(1);
    world.shard.answer(&mut client);
    assert!(world.run_shard(Duration::from_secs(60)).is_empty());
}

/// The session in use has ended, and the next one is not confirmed.
#[test]
fn the_end_of_a_session_does_not_make_an_unconfirmed_one_usable() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    world.run_shard(Duration::from_secs(180) + TICK);
    for n in 0..3u8 {
        assert_eq!(world.shard.outgoing(&[n], client.remote()), Out::Waiting(1));
    }
    // The gateway's initiation is lost, and the client makes its own.
    world.shard.sent.clear();
    let response = world.shard.answer(&mut client);
    assert!(world.shard.sent.is_empty());
    assert_eq!(world.shard.server.waiting_packets(), 3);
    assert_eq!(world.shard.outgoing(&[3], client.remote()), Out::Waiting(1));
    assert!(world.shard.sent.is_empty());

    let Received::Answer(keepalive) = client.receive(&response) else {
        panic!("the client did not take the response");
    };
    let fate = world.shard.incoming(&keepalive, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::Keepalive));
    assert_eq!(world.exchange(&mut client), [[0], [1], [2], [3]]);
}

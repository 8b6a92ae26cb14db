//! Messages caused by timers.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Payload};

use crate::world::{LOOK, World};
use testkit::shard::{In, Out, Received};

/// `Keepalive-Timeout` (WireGuard whitepaper, section 6.1).
const KEEPALIVE: Duration = Duration::from_secs(10);

#[test]
fn unanswered_data_is_acknowledged_with_a_keepalive_after_10_seconds() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    let datagram = client.data(b"data");
    assert_eq!(
        world.shard.incoming(&datagram, client.endpoint),
        In::Delivered(b"data".to_vec(), 1)
    );
    // The previous check tells `Tunn` the time.
    assert!(world.run_shard(KEEPALIVE - LOOK).is_empty());
    let sent = world.run_shard(2 * LOOK);
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].to, sent[0].payload),
        (client.endpoint, Payload::Protocol)
    );
    assert_eq!(client.receive(&sent[0].packet), Received::Data(Vec::new()));
    assert_eq!(world.shard.server.counters().keepalives_sent, 1);
    // Only once.
    assert!(world.run_shard(2 * KEEPALIVE).is_empty());
}

#[test]
fn a_keepalive_is_not_acknowledged() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    let datagram = client.data(b"");
    world.shard.incoming(&datagram, client.endpoint);
    assert!(world.run_shard(3 * KEEPALIVE).is_empty());
}

#[test]
fn a_handshake_begins_after_15_seconds_without_an_answer() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    assert_eq!(
        world.shard.outgoing(b"lost", client.remote()),
        Out::Encapsulated(1)
    );
    world.shard.sent.clear();
    let due = Duration::from_secs(15);
    assert!(world.run_shard(due - LOOK).is_empty());
    // 15 s, plus up to 333 ms of jitter.
    let sent = world.run_shard(Duration::from_millis(333) + 2 * LOOK);
    assert_eq!(sent.len(), 1);
    assert_eq!(world.shard.server.counters().handshakes_initiated, 1);

    // Even if the client has restarted, it needs a new session.
    client.restart();
    let Received::Answer(response) = client.receive(&sent[0].packet) else {
        panic!("the client did not answer");
    };
    let fate = world.shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
    assert_eq!(world.shard.server.counters().handshakes_completed, 1);
    // No packet waits, so a keepalive tells the client that it may send.
    let sent = world.shard.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].to, sent[0].payload),
        (client.endpoint, Payload::Protocol)
    );
    assert_eq!(client.receive(&sent[0].packet), Received::Data(Vec::new()));
    assert_eq!(
        world.shard.outgoing(b"arrives", client.remote()),
        Out::Encapsulated(1)
    );
    assert_eq!(world.exchange(&mut client), [b"arrives"]);
}

/// One of two responses was delayed until the other was accepted. It would begin a session that the client forgets
/// before the gateway does.
#[test]
fn a_delayed_response_is_refused() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    world.shard.outgoing(b"lost", client.remote());
    world.shard.sent.clear();
    let mut response_to_next_initiation = |wait: Duration| {
        let sent = world.run_shard(wait);
        let [initiation] = &sent[..] else {
            panic!("{} datagrams instead of an initiation", sent.len());
        };
        let Received::Answer(response) = client.receive(&initiation.packet) else {
            panic!("the client did not answer");
        };
        response
    };
    let held_back = response_to_next_initiation(Duration::from_millis(15_333) + LOOK);
    let response = response_to_next_initiation(Duration::from_millis(5_333) + LOOK);
    let fate = world.shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
    for _ in 0..3 {
        let fate = world.shard.incoming(&held_back, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Unsolicited));
        world.run_shard(Duration::from_secs(30));
    }
    assert_eq!(world.shard.server.counters().handshakes_completed, 1);
}

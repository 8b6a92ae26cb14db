//! Replacement of the gateway while its clients stay in use.

use std::time::Duration;

use crate::world::{TICK, World};
use testkit::shard::{Client, In, Received, Shard};

/// Starts the next process, with a shard that may remember the client.
fn restart(world: &mut World, remembered: Option<&Client>) {
    world.shard = world.shard.sibling();
    if let Some(client) = remembered {
        let now = world.shard.now;
        let (remote, identity) = (client.remote(), client.identity());
        assert!(world.shard.server.remember(now, remote, identity));
    }
}

/// Lets the client send a packet in each tick. Returns the number of packets that arrived.
fn send_for(world: &mut World, client: &mut Client, time: Duration) -> u32 {
    let mut arrived = 0;
    for _ in 0..time.as_millis() / TICK.as_millis() {
        world.tick(client);
        let data = client.data(b"packet");
        let fate = world.shard.incoming(&data, client.endpoint);
        arrived += u32::from(matches!(fate, In::Delivered(..)));
        world.exchange(client);
    }
    arrived
}

fn connected() -> (World, Client) {
    let mut world = World::new();
    let client = world.shard.connected_client(1);
    (world, client)
}

#[test]
fn a_client_loses_one_packet_to_a_restart_and_nothing_for_ten_minutes_after_it() {
    let (mut world, mut client) = connected();
    restart(&mut world, Some(&client));
    let ten_minutes = 10 * 60 * 4;
    let arrived = send_for(&mut world, &mut client, Duration::from_secs(600));
    assert_eq!(arrived, ten_minutes - 1);
}

#[test]
fn a_client_that_is_not_remembered_is_served_after_fifteen_seconds() {
    let (mut world, mut client) = connected();
    restart(&mut world, None);
    let arrived = send_for(&mut world, &mut client, Duration::from_secs(14));
    assert_eq!(arrived, 0);
    let arrived = send_for(&mut world, &mut client, Duration::from_secs(6));
    assert!(arrived >= 15, "{arrived}");
}

#[test]
fn a_handshake_that_was_lost_is_begun_again_after_five_seconds() {
    let (mut world, mut client) = connected();
    restart(&mut world, Some(&client));
    let data = client.data(b"packet");
    world.shard.incoming(&data, client.endpoint);
    assert_eq!(world.shard.take_sent().len(), 1);

    let arrived = send_for(&mut world, &mut client, Duration::from_secs(5));
    assert_eq!(arrived, 0);
    let arrived = send_for(&mut world, &mut client, Duration::from_secs(2));
    assert!(arrived > 0);
    let counters = world.shard.server.counters();
    assert_eq!(counters.restart_handshakes_started, 2);
    assert_eq!(counters.restart_handshakes_completed, 1);
}

/// The reason why a gateway waits with handshakes until its clock has passed that of the previous process.
#[test]
fn a_client_refuses_an_initiation_with_an_earlier_timestamp_than_the_last() {
    let (mut world, mut client) = connected();
    // The gateway began the first session, so it also begins the next ones.
    restart(&mut world, Some(&client));
    send_for(&mut world, &mut client, Duration::from_secs(200));
    assert!(world.shard.server.counters().handshakes_initiated > 1);
    // Each `Tunn` reads the system clock when it is created, and counts on from there. The system clock is not mocked:
    // this is as if it had been set back by 200 s.
    restart(&mut world, Some(&client));
    assert!(!is_answered(&mut world.shard, &mut client));
}

/// Returns true if the client answers the initiation that its data makes the shard send.
fn is_answered(shard: &mut Shard, client: &mut Client) -> bool {
    let data = client.data(b"packet");
    shard.incoming(&data, client.endpoint);
    let initiation = shard.sent.pop_back().expect("an initiation");
    matches!(client.receive(&initiation.packet), Received::Answer(_))
}

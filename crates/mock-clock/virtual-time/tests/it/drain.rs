//! A drain that outlasts several sessions.

use std::time::Duration;

use snaptun::DropReason;

use crate::world::{TICK, World};
use testkit::shard::{In, Out};

/// Five sessions of 120 s.
const DRAIN: Duration = Duration::from_secs(600);

#[test]
fn a_tunnel_is_rekeyed_and_loses_nothing_while_newcomers_are_refused() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    let mut newcomer = world.shard.client(2);
    world.shard.server.drain();
    for n in 1..(DRAIN.as_millis() / TICK.as_millis()) as u32 {
        let packet = n.to_be_bytes();
        let datagram = client.data(&packet);
        let fate = world.shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.to_vec(), 1));
        assert_eq!(
            world.shard.outgoing(&packet, client.remote()),
            Out::Encapsulated(1)
        );
        assert_eq!(world.tick(&mut client), [packet]);

        let initiation = newcomer.initiation();
        let fate = world.shard.incoming(&initiation, newcomer.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Draining));
    }
    let counters = world.shard.server.counters();
    assert_eq!(counters.handshakes_answered_known, 4);
    assert_eq!(counters.handshakes_answered_new, 1);
    assert_eq!(world.shard.server.tunnel_count(), 1);
}

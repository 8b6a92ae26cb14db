//! An address that goes from one client to another, over time.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint};

use crate::world::{TICK, World};
use testkit::shard::{Client, In, Out, Received};

/// How often the holder says something, as clients of today do unasked.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often a client asks that is not answered (WireGuard whitepaper, section 6.1).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

const HOUR: Duration = Duration::from_secs(3600);

/// A client whose NAT has given it the address of another one, as its own timers drive it. Returns how long
/// it took to be served.
fn time_until_served(world: &mut World, newcomer: &mut Client) -> Duration {
    let start = world.shard.now;
    let mut datagrams = vec![newcomer.initiation()];
    while world.shard.now - start < Duration::from_secs(60) {
        for datagram in datagrams.drain(..) {
            world.shard.incoming(&datagram, newcomer.endpoint);
        }
        for transmit in world.shard.take_sent() {
            if let Received::Answer(keepalive) = newcomer.receive(&transmit.packet) {
                let fate = world.shard.incoming(&keepalive, newcomer.endpoint);
                assert_eq!(fate, In::Consumed(Consumed::Keepalive));
                return world.shard.now - start;
            }
        }
        world.sleep(TICK);
        world.shard.update_timers();
        datagrams.extend(newcomer.update_timers().ok().flatten());
    }
    panic!("not served");
}

#[test]
fn a_newcomer_at_a_silent_address_is_served_within_six_seconds() {
    let mut world = World::new();
    let holder = world.shard.connected_client(1);
    world.run_shard(Duration::from_secs(60));
    let mut newcomer = world.shard.client(2);
    newcomer.endpoint = holder.endpoint;
    let time = time_until_served(&mut world, &mut newcomer);
    assert!(time <= Duration::from_secs(6), "{time:?}");
    let fate = world.shard.outgoing(b"packet", newcomer.remote());
    assert_eq!(fate, Out::Encapsulated(2));
}

/// Of what the holder says every third word is lost.
#[test]
fn a_newcomer_at_a_talking_address_is_not_served_in_an_hour() {
    let mut world = World::new();
    let mut holder = world.shard.connected_client(1);
    let mut newcomer = world.shard.client(2);
    newcomer.endpoint = holder.endpoint;
    let end = world.shard.now + HOUR;
    let mut word_due = world.shard.now;
    let mut attempt_due = world.shard.now;
    let mut words = 0;
    while world.shard.now < end {
        let now = world.shard.now;
        if now >= word_due {
            word_due = now + INTERVAL;
            words += 1;
            let word = holder.data(b"word");
            if words % 3 != 0 {
                world.shard.incoming(&word, holder.endpoint);
            }
        }
        if now >= attempt_due {
            attempt_due = now + REKEY_TIMEOUT;
            let initiation = newcomer.initiation();
            let fate = world.shard.incoming(&initiation, newcomer.endpoint);
            assert_eq!(fate, In::Dropped(DropReason::AddressHeld));
        }
        world.tick(&mut holder);
    }
    assert_eq!(world.shard.server.counters().tunnels_replaced, 0);
    assert!(world.shard.server.has_tunnel(holder.remote()));
}

/// Captured at the start, and sent again every minute, from everywhere.
#[test]
fn a_replay_is_of_no_use_for_as_long_as_the_gateway_lives() {
    let mut world = World::new();
    let mut client = world.shard.client(1);
    let captured = client.initiation();
    world.shard.incoming(&captured, client.endpoint);
    world.shard.sent.clear();
    let elsewhere = Endpoint {
        remote: "10.9.9.9:9".parse().unwrap(),
        ..client.endpoint
    };
    for _ in 0..2 * 60 {
        // Its tunnel is gone after a while: nobody has used it.
        world.run_shard(Duration::from_secs(60));
        for from in [client.endpoint, elsewhere] {
            let fate = world.shard.incoming(&captured, from);
            assert_eq!(fate, In::Dropped(DropReason::ReplayedInitiation));
        }
        assert!(world.shard.sent.is_empty());
    }
    assert_eq!(world.shard.server.tunnel_count(), 0);
    world.shard.connect(&mut client);
}

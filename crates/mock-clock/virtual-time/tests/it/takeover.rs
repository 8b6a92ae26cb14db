//! An address that moves from one client to another over time.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint};

use crate::world::{TICK, World};
use testkit::shard::{Client, In, Out, Received};

/// Interval of the holder's keepalives, as with current clients.
const INTERVAL: Duration = Duration::from_secs(10);

/// Interval at which an unanswered client retries (WireGuard whitepaper, section 6.1).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a client, driven by its own timers, that got the address of another client from its NAT. Returns the time until
/// it was served.
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

/// Every third of the holder's keepalives is lost.
#[test]
fn a_newcomer_at_an_address_in_use_is_not_served_in_an_hour() {
    let mut world = World::new();
    let mut holder = world.shard.connected_client(1);
    let mut newcomer = world.shard.client(2);
    newcomer.endpoint = holder.endpoint;
    let end = world.shard.now + HOUR;
    let mut keepalive_due = world.shard.now;
    let mut attempt_due = world.shard.now;
    let mut keepalives = 0;
    while world.shard.now < end {
        let now = world.shard.now;
        if now >= keepalive_due {
            keepalive_due = now + INTERVAL;
            keepalives += 1;
            let keepalive = holder.data(b"");
            if keepalives % 3 != 0 {
                world.shard.incoming(&keepalive, holder.endpoint);
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

/// Captured at the start, and replayed every minute from different addresses.
#[test]
fn a_replay_is_refused_for_the_life_of_the_gateway() {
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
        // The unused tunnel is gone after a while.
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

//! Time that leaps, because the host was suspended or the shard did not run.

use std::time::Duration;

use snaptun::DropReason;

use crate::world::{TICK, World};
use testkit::shard::{Client, In, Out};

const SECOND: Duration = Duration::from_secs(1);

/// Lets the client send a packet in each tick, without a renewal of the session.
fn talk(world: &mut World, client: &mut Client, time: Duration) {
    for _ in 0..time.as_millis() / TICK.as_millis() {
        world.sleep(TICK);
        world.shard.update_timers();
        let data = client.data(b"packet");
        let fate = world.shard.incoming(&data, client.endpoint);
        assert_eq!(fate, In::Delivered(b"packet".to_vec(), 1));
    }
    world.shard.sent.clear();
}

/// Whether the shard or a message is first after the leap.
#[derive(Clone, Copy, Debug)]
enum First {
    Timers,
    Incoming,
    Outgoing,
    Own,
}

#[test]
fn a_session_that_ended_in_a_leap_of_time_is_not_used() {
    for first in [First::Timers, First::Incoming, First::Outgoing, First::Own] {
        for (age, leap) in [(3, 240), (165, 16), (100, 81), (168, 13), (160, 8 * 3600)] {
            let mut world = World::new();
            let mut client = world.shard.connected_client(1);
            talk(&mut world, &mut client, age * SECOND);
            let data = client.data(b"in the old session");
            world.sleep(leap * SECOND);
            match first {
                First::Timers => world.shard.update_timers(),
                First::Incoming => {
                    let fate = world.shard.incoming(&data, client.endpoint);
                    assert_eq!(fate, In::Dropped(DropReason::NoTunnel), "{age} s, {leap} s");
                }
                First::Outgoing => {
                    let fate = world.shard.outgoing(b"packet", client.remote());
                    assert!(matches!(fate, Out::Dropped(DropReason::NoTunnel, _)));
                }
                First::Own => assert!(!world.shard.send_own(b"report", client.remote())),
            }
            assert!(world.shard.sent.is_empty());
            let fate = world.shard.incoming(&data, client.endpoint);
            assert!(matches!(fate, In::Dropped(_)), "{fate:?}");
        }
    }
}

#[test]
fn a_client_whose_session_ended_in_a_leap_is_served_again_within_a_second() {
    for leap in [179, 240, 1_000, 8 * 3600] {
        let mut world = World::new();
        let mut client = world.shard.connected_client(1);
        talk(&mut world, &mut client, 3 * SECOND);
        world.sleep(leap * SECOND);
        let served_by = world.shard.now + SECOND;
        while world.shard.now < served_by {
            world.sleep(TICK);
            world.shard.update_timers();
            world.exchange(&mut client);
        }
        let fate = world.shard.outgoing(b"packet", client.remote());
        assert_eq!(fate, Out::Encapsulated(1), "after {leap} s");
        assert_eq!(world.exchange(&mut client), [b"packet"]);
        let counters = world.shard.server.counters();
        assert_eq!(counters.tunnels_reopened, 1);
        assert_eq!(counters.restart_handshakes_completed, 1);
    }
}

#[test]
fn a_session_that_outlasts_a_leap_stays_in_use() {
    for leap in [1, 11, 60, 160] {
        let mut world = World::new();
        let mut client = world.shard.connected_client(1);
        talk(&mut world, &mut client, 5 * SECOND);
        world.sleep(leap * SECOND);
        talk(&mut world, &mut client, SECOND);
        let fate = world.shard.outgoing(b"packet", client.remote());
        assert_eq!(fate, Out::Encapsulated(1), "after {leap} s");
        assert_eq!(world.shard.server.counters().tunnels_reopened, 0);
        assert_eq!(world.shard.server.counters().handshakes_initiated, 0);
    }
}

#[test]
fn a_session_that_is_used_without_timer_checks_ends_in_time() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    let mut fate = In::Delivered(b"packet".to_vec(), 1);
    for second in 1..=185 {
        world.sleep(SECOND);
        let data = client.data(b"packet");
        fate = world.shard.incoming(&data, client.endpoint);
        assert!(
            second > 180 || matches!(fate, In::Delivered(..)),
            "{second} s: {fate:?}"
        );
        world.shard.sent.clear();
    }
    assert!(matches!(fate, In::Dropped(_)), "{fate:?}");
}

/// Its client needs a new handshake anyway.
#[test]
fn a_client_without_a_session_before_the_leap_gets_no_handshake() {
    let mut world = World::new();
    let client = world.shard.connected_client(1);
    world.run_shard(190 * SECOND);
    world.sleep(100 * SECOND);
    let sent = world.run_shard(SECOND);
    assert!(sent.is_empty());
    assert!(world.shard.server.has_tunnel(client.remote()));
    assert_eq!(world.shard.server.counters().tunnels_reopened, 0);
}

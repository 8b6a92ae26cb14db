//! Slices of the timers.

use std::time::Duration;

use snaptun::{Consumed, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{In, Shard};

#[test]
fn an_idle_shard_waits_for_a_second() {
    let mut shard = new_shard();
    let wait = shard.server.next_timer() - shard.now;
    assert!(
        wait >= Duration::from_secs(1) && wait < Duration::from_millis(1100),
        "{wait:?}"
    );
    shard.now = shard.server.next_timer();
    shard.update_timers();
    assert_eq!(shard.server.next_timer() - shard.now, wait);
}

#[test]
fn a_few_tunnels_wake_the_caller_once_per_round() {
    let mut shard = new_shard();
    let _clients: Vec<_> = (0..3).map(|n| shard.connected_client(n)).collect();
    shard.now += ShardConfig::default().timer_round;
    shard.update_timers();
    assert_eq!(
        shard.server.next_timer(),
        shard.now + ShardConfig::default().timer_round
    );
}

#[test]
fn nothing_happens_before_the_next_timer_is_due() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    shard.now = shard.server.next_timer();
    shard.update_timers();
    shard.registry.revoke(client.identity());
    shard.now = shard.server.next_timer() - Duration::from_nanos(1);
    shard.update_timers();
    assert!(shard.server.has_tunnel(client.remote()));
    shard.now = shard.server.next_timer();
    shard.update_timers();
    assert!(!shard.server.has_tunnel(client.remote()));
}

/// Revoked tunnels are removed when they are visited.
#[test]
fn a_round_reaches_every_tunnel_in_slices() {
    const TUNNELS: u16 = 300;
    let mut shard = Shard::new(
        now(),
        ShardConfig {
            handshakes_per_ip_per_second: u64::MAX,
            timer_round: Duration::from_millis(100),
            ..ShardConfig::default()
        },
    );
    for n in 0..TUNNELS {
        let mut client = shard.client(n);
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(
            fate,
            In::Consumed(Consumed::HandshakeAnswered { new_tunnel: true })
        );
    }
    shard.now = shard.server.next_timer();
    shard.update_timers();
    for n in 0..TUNNELS {
        shard.registry.revoke(shard.client(n).identity());
    }
    let round_ends = shard.now + Duration::from_millis(100);
    let mut left = shard.server.tunnel_count();
    while shard.server.next_timer() < round_ends {
        shard.now = shard.server.next_timer();
        shard.update_timers();
        let gone = left - shard.server.tunnel_count();
        assert!((1..=64).contains(&gone), "{gone} tunnels in one slice");
        left -= gone;
    }
    shard.now = round_ends;
    shard.update_timers();
    assert_eq!(shard.server.tunnel_count(), 0);
    assert_eq!(shard.server.counters().tunnels_revoked, u64::from(TUNNELS));
}

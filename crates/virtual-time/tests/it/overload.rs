//! The count of handshakes starts again every second.

use std::time::Duration;

use snaptun::{Consumed, DropReason, ShardConfig};

use crate::client::Client;
use crate::shard::{In, Shard};
use crate::world::World;

fn strict() -> World {
    World::with(ShardConfig {
        handshakes_per_second_per_ip: 1,
        ..ShardConfig::default()
    })
}

/// Two initiations from one address: the first is within the limit.
fn use_up_the_limit(world: &mut World, stranger: &mut Client) {
    let fates = [(); 2].map(|()| {
        let initiation = stranger.initiation();
        world.shard.incoming(&initiation, stranger.endpoint)
    });
    assert_eq!(fates[0], In::Dropped(DropReason::Unauthorized));
    assert_eq!(fates[1], In::Consumed(Consumed::CookieReplySent));
    world.shard.sent.clear();
}

#[test]
fn the_limit_is_reset_without_tunnels() {
    let mut world = strict();
    let mut stranger = Client::new(1, Shard::public_key());
    for _ in 0..3 {
        use_up_the_limit(&mut world, &mut stranger);
        let next = world.shard.server.next_timer();
        let wait = next - world.shard.now;
        assert!(wait <= Duration::from_millis(1100));
        world.sleep(wait);
        world.shard.update_timers();
    }
    assert_eq!(world.shard.server.tunnel_count(), 0);
}

#[test]
fn the_limit_is_reset_with_tunnels() {
    let mut world = strict();
    let _client = world.shard.connected_client(2);
    let mut stranger = Client::new(1, Shard::public_key());
    for _ in 0..3 {
        use_up_the_limit(&mut world, &mut stranger);
        world.run_shard(Duration::from_secs(1));
    }
}

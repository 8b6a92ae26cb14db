//! Handshake floods: limits per second, and cookies sent to the gateway.

use std::time::Duration;

use ana_gotatun::noise::TunnResult;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::packet::WgKind;

use snaptun::{Consumed, DropReason, Endpoint, Packet, PublicKey, ShardConfig, Via};

use crate::world::{TICK, World};
use testkit::shard::{Client, In, Out, Shard};

fn strict() -> World {
    World::with(ShardConfig {
        handshakes_per_ip_per_second: 1,
        ..ShardConfig::default()
    })
}

/// Sends two initiations from one address, of which the first is within the limit.
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

#[test]
fn a_client_under_load_can_ask_the_gateway_for_a_cookie() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    world.run_shard(Duration::from_secs(180) + TICK);
    assert_eq!(
        world.shard.outgoing(b"waits", client.remote()),
        Out::Waiting(1)
    );
    let initiation = world.shard.sent.pop_back().expect("an initiation").packet;

    // With a limit of zero, every initiation needs a cookie.
    let under_load = RateLimiter::new(&PublicKey::from(client.identity()), 0);
    let gateway = "192.0.2.1:1".parse().unwrap();
    let Err(TunnResult::WriteToNetwork(WgKind::CookieReply(reply))) =
        under_load.verify_packet(gateway, initiation)
    else {
        panic!("no cookie was asked for");
    };
    // An observer of the initiation could have sent the reply, so it does not change the client's endpoint.
    let via = Via {
        listener: 7,
        local_ip: None,
    };
    let from = Endpoint {
        via,
        ..client.endpoint
    };
    let fate = world.shard.incoming(&Packet::from(reply), from);
    assert_eq!(fate, In::Consumed(Consumed::CookieReceived));

    let mut sent = world.run_shard(Duration::from_secs(6));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].to, client.endpoint);
    let copy = Packet::copy_from(&sent[0].packet[..]);
    assert!(under_load.verify_packet(gateway, copy).is_ok());
    world.shard.sent.extend(sent.drain(..));
    assert_eq!(world.exchange(&mut client), [b"waits"]);
}

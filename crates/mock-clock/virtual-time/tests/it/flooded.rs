//! A tunnel in use whose address is spoofed in valid initiations, while all other budgets are used up.

use std::time::Duration;

use snaptun::{Consumed, DropReason, ShardConfig};

use crate::world::{TICK, World};
use testkit::shard::{Client, In, Out, Received, Shard};

/// `Rekey-After-Time` (WireGuard whitepaper, section 6.1).
const REKEY_AFTER: Duration = Duration::from_secs(120);

/// Cookie holders have used up the budget of messages with a cookie. The budget without a cookie is one message, which
/// connects the client.
fn used_up() -> World {
    World::with(ShardConfig {
        handshakes_per_second: 1,
        verified_handshakes_per_second: 0,
        ..ShardConfig::default()
    })
}

/// Initiations of a client.
#[derive(Debug, Default)]
struct Tries {
    /// Per session, regardless of the side that began it.
    per_session: Vec<u32>,
    /// Since the last session.
    unfinished: u32,
}

/// Lets the client send and receive a packet in every tick, all of which have to arrive. In between, `spoofed` arrives
/// from its address `rate` times a second.
fn live(
    world: &mut World,
    client: &mut Client,
    time: Duration,
    spoofed: &[u8],
    rate: usize,
    tries: &mut Tries,
) {
    let end = world.shard.now + time;
    let per_tick = rate / (1000 / TICK.as_millis() as usize);
    let mut n = 0u32;
    while world.shard.now < end {
        world.sleep(TICK);
        n += 1;
        flood(&mut world.shard, client, spoofed, per_tick / 2);
        let packet = n.to_be_bytes();
        let data = client.data(&packet);
        let fate = world.shard.incoming(&data, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.to_vec(), 1));
        let fate = world.shard.outgoing(&packet, client.remote());
        assert_eq!(fate, Out::Encapsulated(1));
        if let Ok(Some(initiation)) = client.update_timers() {
            tries.unfinished += 1;
            world.shard.incoming(&initiation, client.endpoint);
        }
        world.shard.update_timers();
        assert_eq!(exchange(world, client, tries), [packet]);
        flood(&mut world.shard, client, spoofed, per_tick - per_tick / 2);
    }
}

fn flood(shard: &mut Shard, client: &Client, spoofed: &[u8], messages: usize) {
    for _ in 0..messages {
        let fate = shard.incoming(spoofed, client.endpoint);
        assert!(
            matches!(
                fate,
                In::Consumed(Consumed::CookieReplySent)
                    | In::Dropped(
                        DropReason::CookieReplyLimit
                            | DropReason::AddressHeld
                            | DropReason::Unauthorized
                    )
            ),
            "{fate:?}"
        );
        // The attacker does not receive the cookie, and the client cannot decrypt it.
        shard.sent.clear();
    }
}

/// Exchanges datagrams. Returns the packets that the client received.
fn exchange(world: &mut World, client: &mut Client, tries: &mut Tries) -> Vec<Vec<u8>> {
    const TYPE_DATA: u8 = 4;
    let mut packets = Vec::new();
    while let Some(transmit) = world.shard.sent.pop_front() {
        match client.receive(&transmit.packet) {
            Received::Data(packet) if packet.is_empty() => {}
            Received::Data(packet) => packets.push(packet),
            Received::Answer(answer) => {
                // A keepalive in a session begun by the client, or a response to the gateway.
                if answer[0] == TYPE_DATA || transmit.packet[0] == 1 {
                    tries
                        .per_session
                        .push(std::mem::take(&mut tries.unfinished));
                }
                let fate = world.shard.incoming(&answer, client.endpoint);
                assert!(matches!(fate, In::Consumed(_)), "{fate:?}");
            }
            Received::Cookie => {}
            Received::Refused => panic!("the client refused a datagram"),
        }
    }
    packets
}

#[test]
fn with_a_hundred_spoofed_messages_a_second_every_rekey_takes_one_attempt() {
    let mut world = used_up();
    let mut client = world.shard.connected_client(1);
    let spoofed = Client::new(99, Shard::public_key()).initiation();
    let mut tries = Tries::default();
    let time = 8 * REKEY_AFTER + 4 * TICK;
    live(&mut world, &mut client, time, &spoofed, 100, &mut tries);
    assert_eq!(tries.per_session, [1; 8]);
    assert_eq!(world.shard.server.counters().handshakes_under_pressure, 0);
}

/// For as long as the client would retry, and longer than its session would last.
#[test]
fn with_twenty_thousand_spoofed_messages_a_second_the_gateway_begins_the_rekey() {
    let mut world = used_up();
    let mut client = world.shard.connected_client(1);
    let spoofed = Client::new(99, Shard::public_key()).initiation();
    let mut tries = Tries::default();
    let peace = REKEY_AFTER - Duration::from_secs(5);
    live(&mut world, &mut client, peace, &spoofed, 0, &mut tries);
    let flood = Duration::from_secs(95);
    live(&mut world, &mut client, flood, &spoofed, 20_000, &mut tries);

    // The tunnel continues in another session without loss.
    assert_eq!(tries.per_session.len(), 1, "{tries:?}");
    assert!(tries.per_session[0] <= 3, "{tries:?}");
    assert!(world.shard.server.counters().handshakes_under_pressure >= 1);
    assert_eq!(world.shard.server.tunnel_count(), 1);
}

/// The gateway sends nothing because of messages with the spoofed address of a client that is gone, or while the
/// session is young enough.
#[test]
fn a_flood_makes_the_gateway_begin_no_handshake_with_a_silent_client() {
    let mut world = used_up();
    let mut client = world.shard.connected_client(1);
    let spoofed = Client::new(99, Shard::public_key()).initiation();
    let data = client.data(b"last packet");
    let fate = world.shard.incoming(&data, client.endpoint);
    assert_eq!(fate, In::Delivered(b"last packet".to_vec(), 1));
    for _ in 0..300 {
        flood(&mut world.shard, &client, &spoofed, 300);
        world.run_shard(Duration::from_secs(1));
    }
    let counters = world.shard.server.counters();
    assert_eq!(counters.handshakes_initiated, 0);
    assert_eq!(world.shard.server.tunnel_count(), 1);
}

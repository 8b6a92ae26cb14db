//! Tunnels in use for hours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gotatun_client::noise::rate_limiter::RateLimiter;
use gotatun_client::noise::{Tunn, TunnResult};
use gotatun_client::packet::Packet;
use gotatun_client::x25519::{PublicKey, StaticSecret};
use snaptun::{Consumed, Endpoint, Via};

use crate::world::{TICK, World};
use testkit::shard::{In, Out, Received, Shard};

const HOUR: Duration = Duration::from_secs(3600);
const TICKS_PER_HOUR: u32 = (HOUR.as_millis() / TICK.as_millis()) as u32;

/// A client begins a new session every 120 s; the 30th is due when the hour ends.
const REKEYS_PER_HOUR: u64 = 29;

#[test]
fn a_tunnel_in_use_is_rekeyed_and_loses_nothing() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    for n in 1..TICKS_PER_HOUR {
        let packet = n.to_be_bytes();
        let datagram = client.data(&packet);
        let fate = world.shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.to_vec(), 1));
        assert_eq!(
            world.shard.outgoing(&packet, client.remote()),
            Out::Encapsulated(1)
        );
        assert_eq!(world.tick(&mut client), [packet]);
    }
    let counters = world.shard.server.counters();
    assert_eq!(counters.handshakes_answered_known, REKEYS_PER_HOUR);
    assert_eq!(counters.handshakes_initiated, 0);
    assert_eq!(counters.keepalives_sent, 0);
    assert_eq!(world.shard.server.tunnel_count(), 1);
}

#[test]
fn a_tunnel_that_only_receives_is_rekeyed_and_loses_nothing() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    for n in 0..TICKS_PER_HOUR {
        let packet = n.to_be_bytes();
        assert_eq!(
            world.shard.outgoing(&packet, client.remote()),
            Out::Encapsulated(1)
        );
        assert_eq!(world.tick(&mut client), [packet]);
    }
    let counters = world.shard.server.counters();
    // The client needs no initiation: it acknowledges with keepalives and rekeys at 165 s.
    assert_eq!(counters.handshakes_initiated, 0);
    assert_eq!(counters.handshakes_answered_known, 3600 / 165);
    assert_eq!(world.shard.server.tunnel_count(), 1);
}

/// The same with a current client, with the persistent keepalive of snap-tun 0.8.6.
#[test]
fn a_tunnel_of_an_old_client_is_rekeyed_and_loses_nothing() {
    let mut world = World::new();
    let shard = &mut world.shard;
    let remote: SocketAddr = "192.0.2.7:4321".parse().unwrap();
    let from = Endpoint {
        remote,
        via: Via::default(),
    };
    let secret = StaticSecret::from([7; 32]);
    let public = PublicKey::from(&secret);
    shard.registry.grant(public.to_bytes(), 1, None);
    let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
    let gateway = PublicKey::from(Shard::public_key().to_bytes());
    let mut client = Tunn::new(secret, gateway, None, Some(10), 0, limiter, remote);

    let mut to_gateway: Vec<Vec<u8>> = Vec::new();
    let initiation = client
        .format_handshake_initiation(false)
        .expect("none is under way");
    to_gateway.push(to_bytes(initiation));
    let mut delivered = 0;
    let mut received = 0;
    for n in 0..TICKS_PER_HOUR {
        if let Ok(Some(message)) = client.update_timers() {
            to_gateway.push(to_bytes(message));
        }
        // The tunnel exists from the second tick on.
        if n > 0 {
            let packet = n.to_be_bytes();
            let message = client.handle_outgoing_packet(Packet::copy_from(packet.as_slice()));
            to_gateway.push(to_bytes(message.expect("a session")));
            assert_eq!(world.shard.outgoing(&packet, remote), Out::Encapsulated(1));
        }
        while !(to_gateway.is_empty() && world.shard.sent.is_empty()) {
            for datagram in to_gateway.drain(..) {
                match world.shard.incoming(&datagram, from) {
                    In::Delivered(..) => delivered += 1,
                    In::Consumed(_) => {}
                    In::Dropped(reason) => panic!("dropped: {reason:?}"),
                }
            }
            for transmit in world.shard.take_sent() {
                let message = Packet::copy_from(&transmit.packet[..])
                    .try_into_wg()
                    .unwrap();
                match client.handle_incoming_packet(message) {
                    TunnResult::WriteToNetwork(answer) => {
                        to_gateway.push(to_bytes(answer));
                    }
                    TunnResult::WriteToTunnel(packet) if packet.is_empty() => {}
                    TunnResult::WriteToTunnel(packet) => {
                        assert_eq!(packet[..], n.to_be_bytes());
                        received += 1;
                    }
                    result => panic!("the client did not take a datagram: {result:?}"),
                }
            }
        }
        assert_eq!(client.get_initiator_remote_sockaddr(), Some(remote));
        world.sleep(TICK);
        world.shard.update_timers();
    }
    assert_eq!(delivered, TICKS_PER_HOUR - 1);
    assert_eq!(received, TICKS_PER_HOUR - 1);
    assert_eq!(
        world.shard.server.counters().handshakes_answered_known,
        REKEYS_PER_HOUR
    );
    assert_eq!(world.shard.server.tunnel_count(), 1);
}

fn to_bytes(message: impl Into<Packet>) -> Vec<u8> {
    message.into().to_vec()
}

/// The client's initiation crosses the gateway's and arrives after the client's response. Each side then expects the
/// other to renew the session, unless the gateway knows which handshake began the session in use.
#[test]
fn a_session_that_began_with_crossing_initiations_is_renewed_and_loses_nothing() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    world.shard.outgoing(b"lost", client.remote());
    world.shard.sent.clear();
    let sent = world.run_shard(Duration::from_secs(17));
    assert_eq!(sent.len(), 1);
    assert_eq!(client.update_timers(), Ok(None));
    let late = client.initiation();
    let Received::Answer(response) = client.receive(&sent[0].packet) else {
        panic!("the client did not answer");
    };
    let fate = world.shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
    assert!(world.exchange(&mut client).is_empty());
    let fate = world.shard.incoming(&late, client.endpoint);
    assert!(matches!(
        fate,
        In::Consumed(Consumed::HandshakeAnswered { .. })
    ));
    // The client no longer awaits this response.
    world.shard.sent.clear();

    for n in 1..TICKS_PER_HOUR {
        let packet = n.to_be_bytes();
        let datagram = client.data(&packet);
        let fate = world.shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.to_vec(), 1));
        let fate = world.shard.outgoing(&packet, client.remote());
        assert_eq!(fate, Out::Encapsulated(1));
        assert_eq!(world.tick(&mut client), [packet]);
    }
}

/// A client whose response to the gateway was lost expects the gateway to renew the session still in use. The gateway
/// renews a session itself only if it began it.
#[test]
fn a_session_that_its_client_does_not_renew_is_renewed_before_it_ends() {
    let mut world = World::new();
    let mut client = world.shard.connected_client(1);
    for n in 0..TICKS_PER_HOUR / 10 {
        world.sleep(TICK);
        world.shard.update_timers();
        // The client's timers, which would begin the handshake, are not checked.
        let packet = n.to_be_bytes();
        let datagram = client.data(&packet);
        let fate = world.shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.to_vec(), 1), "after {n} ticks");
        let out = world.shard.outgoing(&packet, client.remote());
        assert_eq!(out, Out::Encapsulated(1), "after {n} ticks");
        assert_eq!(world.exchange(&mut client), [packet]);
    }
    assert_eq!(world.shard.server.counters().handshakes_completed, 2);
}

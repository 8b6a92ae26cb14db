//! Draining: no new tunnels, and existing ones stay in service.

use std::time::Duration;

use snaptun::{Consumed, DropReason, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{In, Out, Shard};

const IDLE: Duration = Duration::from_secs(5);

#[test]
fn a_draining_shard_answers_no_newcomer() {
    // Without a drain the first configuration answers, and the second demands a cookie.
    for handshakes_per_ip_per_second in [100, 0] {
        let config = ShardConfig {
            handshakes_per_ip_per_second,
            ..ShardConfig::default()
        };
        let mut shard = Shard::new(now(), config);
        shard.server.drain();
        let mut client = shard.client(1);
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Draining));
        assert!(shard.sent.is_empty());
        assert_eq!(shard.server.tunnel_count(), 0);
    }
}

#[test]
fn a_draining_shard_does_not_reassign_a_silent_address() {
    let mut shard = new_shard();
    let holder = shard.connected_client(1);
    let mut newcomer = shard.client(2);
    newcomer.endpoint = holder.endpoint;
    shard.now += 2 * ShardConfig::default().silent_after;
    shard.server.drain();
    let initiation = newcomer.initiation();
    let fate = shard.incoming(&initiation, newcomer.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Draining));
    assert!(shard.sent.is_empty());
    assert_eq!(
        shard.outgoing(b"packet", holder.remote()),
        Out::Encapsulated(1)
    );
}

#[test]
fn a_client_with_a_tunnel_begins_sessions_while_the_shard_drains() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.server.drain();
    for restarts in [false, true] {
        if restarts {
            client.restart();
        }
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        let answered = Consumed::HandshakeAnswered { new_tunnel: false };
        assert_eq!(fate, In::Consumed(answered));
        shard.deliver_to(&mut client);
        let datagram = client.data(b"still here");
        let fate = shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(b"still here".to_vec(), 1));
    }
}

#[test]
fn a_revoked_identity_loses_its_tunnel_while_the_shard_drains() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.server.drain();
    shard.registry.revoke(client.identity());
    let datagram = client.data(b"late");
    let fate = shard.incoming(&datagram, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    assert_eq!(shard.server.tunnel_count(), 0);
}

#[test]
fn a_tunnel_talks_while_data_passes_in_either_direction() {
    let mut shard = new_shard();
    let mut sender = shard.connected_client(1);
    let receiver = shard.connected_client(2);
    let talking = |shard: &Shard| shard.server.talking_tunnels(shard.now, IDLE);
    shard.now += IDLE;
    assert_eq!(talking(&shard), 0);

    let datagram = sender.data(b"packet");
    shard.incoming(&datagram, sender.endpoint);
    assert_eq!(talking(&shard), 1);
    shard.outgoing(b"packet", receiver.remote());
    assert_eq!(talking(&shard), 2);

    shard.now += IDLE - Duration::from_nanos(1);
    assert_eq!(talking(&shard), 2);
    shard.now += Duration::from_nanos(1);
    assert_eq!(talking(&shard), 0);
}

#[test]
fn keepalives_and_handshakes_do_not_count_as_data() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    shard.now += IDLE;
    let keepalive = client.data(b"");
    let fate = shard.incoming(&keepalive, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::Keepalive));
    shard.connect(&mut client);
    assert_eq!(shard.server.talking_tunnels(shard.now, IDLE), 0);
}

#[test]
fn a_waiting_packet_counts_as_data_when_it_leaves() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    shard.answer(&mut client);
    shard.now += IDLE;
    assert_eq!(shard.outgoing(b"packet", client.remote()), Out::Waiting(1));
    assert_eq!(shard.server.talking_tunnels(shard.now, IDLE), 0);
    shard.take_sent();
    shard.connect(&mut client);
    assert_eq!(shard.deliver_to(&mut client), [b"packet"]);
    assert_eq!(shard.server.talking_tunnels(shard.now, IDLE), 1);
}

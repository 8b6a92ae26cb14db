//! An address that moves to another client.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint, ShardConfig};

use crate::clock::new_shard;
use testkit::shard::{Client, In, Out, Shard};

/// Returns a client at the address of another one.
fn newcomer_at(shard: &Shard, address: Endpoint) -> Client {
    let mut newcomer = shard.client(2);
    newcomer.endpoint = address;
    newcomer
}

fn silence(shard: &mut Shard) {
    shard.now += ShardConfig::default().silent_after;
}

fn initiate(shard: &mut Shard, client: &mut Client) -> In {
    let initiation = client.initiation();
    shard.incoming(&initiation, client.endpoint)
}

#[test]
fn a_silent_address_goes_to_a_client_that_proves_its_address() {
    let mut shard = new_shard();
    let mut holder = shard.connected_client(1);
    let mut newcomer = newcomer_at(&shard, holder.endpoint);
    silence(&mut shard);

    shard.show_cookie(&mut newcomer);
    // The holder still has its tunnel.
    let fate = shard.outgoing(b"for the holder", holder.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    assert_eq!(shard.deliver_to(&mut holder), [b"for the holder"]);

    shard.connect(&mut newcomer);
    assert_eq!(shard.server.tunnel_count(), 1);
    assert_eq!(shard.server.counters().tunnels_replaced, 1);
    assert_eq!(shard.server.counters().cookies_demanded_takeover, 1);
    let fate = shard.outgoing(b"for the newcomer", newcomer.remote());
    assert_eq!(fate, Out::Encapsulated(2));
    assert_eq!(shard.deliver_to(&mut newcomer), [b"for the newcomer"]);
    let late = holder.data(b"late");
    let fate = shard.incoming(&late, holder.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoSession));
}

#[test]
fn a_tunnel_in_use_is_not_displaced_even_with_a_cookie() {
    let mut shard = new_shard();
    let mut holder = shard.connected_client(1);
    let mut newcomer = newcomer_at(&shard, holder.endpoint);
    silence(&mut shard);
    shard.show_cookie(&mut newcomer);

    let keepalive = holder.data(b"");
    shard.incoming(&keepalive, holder.endpoint);
    shard.now += ShardConfig::default().silent_after - Duration::from_nanos(1);
    let fate = initiate(&mut shard, &mut newcomer);
    assert_eq!(fate, In::Dropped(DropReason::AddressHeld));
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.counters().tunnels_replaced, 0);
    let data = holder.data(b"undisturbed");
    assert_eq!(
        shard.incoming(&data, holder.endpoint),
        In::Delivered(b"undisturbed".to_vec(), 1)
    );
}

/// Outgoing packets prove nothing about their receiver.
#[test]
fn a_tunnel_that_only_receives_is_silent() {
    let mut shard = new_shard();
    let holder = shard.connected_client(1);
    silence(&mut shard);
    let fate = shard.outgoing(b"unheard", holder.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    shard.sent.clear();
    let mut newcomer = newcomer_at(&shard, holder.endpoint);
    shard.show_cookie(&mut newcomer);
    shard.connect(&mut newcomer);
}

/// A replay or forgery from the address does not count as a message of its holder.
#[test]
fn only_authenticated_messages_keep_an_address() {
    let mut shard = new_shard();
    let mut holder = shard.connected_client(1);
    let replayed = holder.data(b"once");
    shard.incoming(&replayed, holder.endpoint);
    let mut forged = holder.data(b"forged");
    *forged.last_mut().unwrap() ^= 1;
    silence(&mut shard);
    for datagram in [replayed, forged] {
        let fate = shard.incoming(&datagram, holder.endpoint);
        assert!(matches!(fate, In::Dropped(_)));
    }
    let mut newcomer = newcomer_at(&shard, holder.endpoint);
    shard.show_cookie(&mut newcomer);
}

/// An attacker with an authorized identity opens tunnels at spoofed addresses.
#[test]
fn a_half_open_tunnel_does_not_keep_its_address() {
    let mut shard = new_shard();
    let mut squatter = shard.client(1);
    shard.answer(&mut squatter);
    let fate = shard.outgoing(b"waits", squatter.remote());
    assert_eq!(fate, Out::Waiting(1));

    let mut owner = newcomer_at(&shard, squatter.endpoint);
    shard.show_cookie(&mut owner);
    shard.connect(&mut owner);
    assert_eq!(shard.server.counters().tunnels_replaced, 1);
    assert_eq!(shard.server.counters().waiting_discarded_displaced, 1);
    assert_eq!(shard.server.waiting_packets(), 0);
}

#[test]
fn an_unauthorized_identity_gets_neither_the_address_nor_a_cookie() {
    let mut shard = new_shard();
    let holder = shard.connected_client(1);
    let mut stranger = Client::new(3, Shard::public_key());
    stranger.endpoint = holder.endpoint;
    silence(&mut shard);
    let fate = initiate(&mut shard, &mut stranger);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    assert!(shard.sent.is_empty());
    assert!(shard.server.has_tunnel(holder.remote()));
}

/// The cookie belongs to another address, so the sender does not receive at this one.
#[test]
fn a_cookie_of_another_address_allows_no_takeover() {
    let mut shard = new_shard();
    let holder = shard.connected_client(1);
    let elsewhere = shard.client(3);
    let squatter = shard.client(4);
    let mut newcomer = newcomer_at(&shard, elsewhere.endpoint);
    let mut at_elsewhere = squatter;
    at_elsewhere.endpoint = elsewhere.endpoint;
    shard.answer(&mut at_elsewhere);
    shard.show_cookie(&mut newcomer);

    silence(&mut shard);
    newcomer.endpoint = holder.endpoint;
    let fate = initiate(&mut shard, &mut newcomer);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    assert_eq!(shard.server.counters().tunnels_replaced, 0);
}

#[test]
fn the_old_holder_does_not_get_its_address_back_while_the_newcomer_uses_it() {
    let mut shard = new_shard();
    let mut holder = shard.connected_client(1);
    let mut newcomer = newcomer_at(&shard, holder.endpoint);
    silence(&mut shard);
    shard.show_cookie(&mut newcomer);
    shard.connect(&mut newcomer);
    let fate = initiate(&mut shard, &mut holder);
    assert_eq!(fate, In::Dropped(DropReason::AddressHeld));
}

//! Creation of tunnels.

use std::net::{IpAddr, SocketAddr};

use snaptun::{DropReason, Endpoint, Via};

use crate::clock::new_shard;
use crate::forging::TIMESTAMP;
use testkit::messages::write_mac1;
use testkit::shard::{Client, In, Out, Shard, secret};

#[test]
fn a_client_learns_the_address_that_the_gateway_sees() {
    for remote in ["192.0.2.7:4321", "[2001:db8::7]:4321"] {
        let remote: SocketAddr = remote.parse().unwrap();
        let mut shard = new_shard();
        let mut client = Client::at(remote, 1, Shard::public_key());
        shard.registry.grant(client.identity(), 1, None);
        shard.connect(&mut client);
        assert_eq!(client.observed_address(), Some(remote));
    }
}

#[test]
fn each_client_has_its_own_tunnel() {
    let mut shard = new_shard();
    let mut clients: Vec<_> = (1..=5).map(|n| shard.connected_client(n)).collect();
    assert_eq!(shard.server.tunnel_count(), clients.len());
    for (client, number) in clients.iter_mut().zip(1..) {
        assert!(shard.server.has_tunnel(client.remote()));
        let packet = vec![number as u8; 100];
        let datagram = client.data(&packet);
        let fate = shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Delivered(packet.clone(), number));
        assert_eq!(
            shard.outgoing(&packet, client.remote()),
            Out::Encapsulated(number)
        );
        assert_eq!(shard.deliver_to(client), [packet]);
    }
    assert_eq!(shard.server.counters().tunnels_created, 5);
    assert_eq!(shard.server.counters().handshakes_answered_new, 5);
}

#[test]
fn an_unauthorized_identity_gets_no_answer_and_no_tunnel() {
    let mut shard = new_shard();
    let mut stranger = Client::new(1, Shard::public_key());
    let initiation = stranger.initiation();
    let fate = shard.incoming(&initiation, stranger.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unauthorized));
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.tunnel_count(), 0);
}

#[test]
fn an_initiation_for_another_gateway_is_dropped() {
    let mut shard = new_shard();
    let mut client = Client::new(1, snaptun::PublicKey::from(&secret(77)));
    shard.registry.grant(client.identity(), 1, None);
    let initiation = client.initiation();
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::InvalidMac));
    assert!(shard.sent.is_empty());
}

/// The identity is genuine and authorized; only the end of the message is damaged.
#[test]
fn an_initiation_that_fails_after_its_identity_was_authorized_makes_no_tunnel() {
    let mut shard = new_shard();
    let mut client = shard.client(1);
    let mut initiation = client.initiation();
    initiation[TIMESTAMP.start] ^= 1;
    write_mac1(&mut initiation, &Shard::public_key());
    let fate = shard.incoming(&initiation, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Forged));
    assert_eq!(shard.server.tunnel_count(), 0);
    assert!(!shard.server.has_tunnel(client.remote()));
    assert!(shard.sent.is_empty());
}

#[test]
fn only_an_initiation_can_open_an_address() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let elsewhere = Endpoint {
        remote: "10.9.9.9:9".parse().unwrap(),
        ..client.endpoint
    };
    let response = shard.answer(&mut client);
    let data = client.data(b"data");
    let mut cookie_reply = vec![0; 64];
    cookie_reply[0] = 3;
    for datagram in [response, data, cookie_reply] {
        let fate = shard.incoming(&datagram, elsewhere);
        assert_eq!(
            fate,
            In::Dropped(DropReason::NoTunnel),
            "type {}",
            datagram[0]
        );
    }
    assert!(!shard.server.has_tunnel(elsewhere.remote));
    assert!(shard.sent.is_empty());
}

#[test]
fn an_unsolicited_response_or_cookie_is_dropped() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    let mut cookie_reply = vec![0; 64];
    cookie_reply[0] = 3;
    let fate = shard.incoming(&cookie_reply, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unsolicited));

    let mut response = vec![0; 112];
    response[0] = 2;
    let fate = shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Unsolicited));
    assert!(shard.sent.is_empty());
}

#[test]
fn an_address_stays_with_its_identity() {
    let mut shard = new_shard();
    let mut holder = shard.connected_client(1);
    let mut intruder = shard.client(2);
    intruder.endpoint = holder.endpoint;

    let initiation = intruder.initiation();
    let fate = shard.incoming(&initiation, intruder.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::AddressHeld));
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.tunnel_count(), 1);

    let datagram = holder.data(b"undisturbed");
    let fate = shard.incoming(&datagram, holder.endpoint);
    assert_eq!(fate, In::Delivered(b"undisturbed".to_vec(), 1));
    assert_eq!(
        shard.outgoing(b"both ways", holder.remote()),
        Out::Encapsulated(1)
    );
    assert_eq!(shard.deliver_to(&mut holder), [b"both ways"]);
}

#[test]
fn a_client_that_restarts_is_answered_at_once() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    client.restart();
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);

    let datagram = client.data(b"again");
    let fate = shard.incoming(&datagram, client.endpoint);
    assert_eq!(fate, In::Delivered(b"again".to_vec(), 1));
    assert_eq!(
        shard.outgoing(b"answer", client.remote()),
        Out::Encapsulated(1)
    );
    assert_eq!(shard.deliver_to(&mut client), [b"answer"]);
    assert_eq!(shard.server.counters().handshakes_answered_known, 1);
}

#[test]
fn a_client_at_a_new_address_gets_a_second_tunnel() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    let old = client.endpoint;
    let last = client.data(b"on its way");
    client.endpoint.remote = "10.9.9.9:9".parse().unwrap();
    shard.connect(&mut client);
    assert_eq!(client.observed_address(), Some(client.remote()));
    assert_eq!(shard.server.tunnel_count(), 2);

    // Data belongs to the address of its session.
    let datagram = client.data(b"new");
    assert_eq!(
        shard.incoming(&datagram, old),
        In::Dropped(DropReason::NoSession)
    );
    assert_eq!(
        shard.incoming(&datagram, client.endpoint),
        In::Delivered(b"new".to_vec(), 1)
    );
    assert_eq!(
        shard.incoming(&last, old),
        In::Delivered(b"on its way".to_vec(), 1)
    );
}

#[test]
fn only_an_authenticated_packet_changes_the_local_address_of_answers() {
    fn via(listener: u16) -> Via {
        Via {
            listener,
            local_ip: Some(IpAddr::from([192, 0, 2, listener as u8])),
        }
    }
    fn leaves_by(shard: &mut Shard, client: &Client) -> Via {
        assert_eq!(
            shard.outgoing(b"packet", client.remote()),
            Out::Encapsulated(1)
        );
        shard.sent.pop_back().unwrap().to.via
    }
    let mut shard = new_shard();
    let mut client = shard.client(1);
    client.endpoint.via = via(1);
    shard.connect(&mut client);
    assert_eq!(leaves_by(&mut shard, &client), via(1));

    // Spoofed from the client's address, to another address of the gateway.
    let remote = client.remote();
    let spoofed = Endpoint {
        remote,
        via: via(2),
    };
    let mut intruder = shard.client(2);
    let mut forged = client.data(b"forged");
    *forged.last_mut().unwrap() ^= 1;
    let replayed = client.data(b"once");
    assert!(matches!(
        shard.incoming(&replayed, client.endpoint),
        In::Delivered(..)
    ));
    let mut cookie_reply = vec![0; 64];
    cookie_reply[0] = 3;
    for datagram in [
        vec![0; 40],
        intruder.initiation(),
        forged,
        replayed,
        cookie_reply,
    ] {
        assert!(matches!(shard.incoming(&datagram, spoofed), In::Dropped(_)));
        assert_eq!(leaves_by(&mut shard, &client), via(1));
    }

    let datagram = client.data(b"data");
    shard.incoming(
        &datagram,
        Endpoint {
            remote,
            via: via(3),
        },
    );
    assert_eq!(leaves_by(&mut shard, &client), via(3));

    let keepalive = client.data(b"");
    shard.incoming(
        &keepalive,
        Endpoint {
            remote,
            via: via(4),
        },
    );
    assert_eq!(leaves_by(&mut shard, &client), via(4));

    client.endpoint.via = via(5);
    shard.answer(&mut client);
    assert_eq!(leaves_by(&mut shard, &client), via(5));
}

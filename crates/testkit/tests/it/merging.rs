//! Tests of links that merge datagrams of different senders, as network cards do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::forge::Datagram;
use testkit::{
    Flood, Host, IpVersion, Network, PATIENCE, Pace, client_socket, may_make_namespaces, messages,
    receive_train, send_train,
};
use udp_shards::ShardSocket;

/// Length of the datagrams in bytes.
const BYTES: usize = 200;

struct Sockets {
    _network: Network,
    attacker: Host,
    receiver: ShardSocket,
    sender: ShardSocket,
}

/// Creates a receiver, a sender and an attacker, each on its own host.
fn sockets(version: IpVersion) -> Sockets {
    let mut network = Network::new();
    let [receiver, sender, attacker] = [(); 3].map(|()| network.add_host());
    receiver.link.emulate_network_cards();
    let bind = |host: &Host| {
        let address = SocketAddr::new(host.ip(version), 0);
        host.namespace.run(|| client_socket(address))
    };
    Sockets {
        receiver: bind(&receiver),
        sender: bind(&sender),
        attacker,
        _network: network,
    }
}

/// Sends 5,000 datagrams/s from the sender, and 20,000/s with the sender's address from the attacker, until a train
/// with both arrives.
fn honest_and_forged_datagrams_merge(sockets: &Sockets) {
    let (from, to) = (sockets.sender.local_addr(), sockets.receiver.local_addr());
    let honest = vec![4; BYTES];
    let forged = Datagram::new(from, to, &messages::garbage(BYTES)).to_ip_packet();
    let _flood = Flood::start(&sockets.attacker.namespace, 20_000, vec![forged]);
    let mut pace = Pace::new(5_000);
    let deadline = Instant::now() + PATIENCE;
    loop {
        for _ in 0..pace.next_burst() {
            socket2::SockRef::from(&sockets.sender)
                .send_to(&honest, &to.into())
                .unwrap();
        }
        while let Some(train) = receive_train(&sockets.receiver, None) {
            let honest_datagrams = train.iter().filter(|one| **one == honest).count();
            if honest_datagrams > 0 && honest_datagrams < train.len() {
                return;
            }
        }
        assert!(Instant::now() < deadline, "no mixed train arrived");
    }
}

#[test]
fn forged_ipv4_datagrams_merge_with_real_ones() {
    if may_make_namespaces("forged_ipv4_datagrams_merge_with_real_ones") {
        honest_and_forged_datagrams_merge(&sockets(IpVersion::V4));
    }
}

#[test]
fn forged_ipv6_datagrams_merge_with_real_ones() {
    if may_make_namespaces("forged_ipv6_datagrams_merge_with_real_ones") {
        honest_and_forged_datagrams_merge(&sockets(IpVersion::V6));
    }
}

#[test]
fn a_train_arrives_as_it_was_sent() {
    if !may_make_namespaces("a_train_arrives_as_it_was_sent") {
        return;
    }
    let sockets = sockets(IpVersion::V4);
    let mut train: Vec<_> = (0..10).map(|_| messages::garbage(BYTES)).collect();
    train.push(messages::garbage(7));
    send_train(&sockets.sender, sockets.receiver.local_addr(), &train);
    let mut received = Vec::new();
    while received.len() < train.len() {
        let deadline = Instant::now() + PATIENCE;
        received.extend(receive_train(&sockets.receiver, Some(deadline)).unwrap());
    }
    assert_eq!(received, train);
    assert!(receive_train(&sockets.receiver, Some(Instant::now() + Duration::ZERO)).is_none());
}

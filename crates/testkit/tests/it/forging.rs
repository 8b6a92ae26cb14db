//! Forged datagrams are what they claim to be.

use std::net::SocketAddr;
use std::time::Instant;

use testkit::forge::{Datagram, Extension, RawSender};
use testkit::messages::{self, Mac1};
use testkit::{
    IpVersion, Network, PATIENCE, Tunnel, client_socket, identity, may_make_namespaces,
    receive_train,
};
use x25519_dalek::PublicKey;

#[test]
fn mac1_is_that_of_a_real_initiation() {
    let gateway = PublicKey::from(&identity());
    let address = "192.0.2.1:51820".parse().unwrap();
    let real = Tunnel::new(identity(), address, &gateway).initiate();
    assert_eq!(messages::mac1(&gateway, &real[..116]), real[116..132]);
    let forged = messages::initiation(7, Mac1::Right(&gateway));
    assert_eq!(forged.len(), real.len());
    assert_eq!(messages::mac1(&gateway, &forged[..116]), forged[116..132]);
}

/// A wrong checksum or a wrong extension header would keep them from arriving.
#[test]
fn forged_datagrams_arrive_from_an_address_that_the_sender_does_not_have() {
    if !may_make_namespaces("forged_datagrams_arrive_from_an_address_that_the_sender_does_not_have")
    {
        return;
    }
    let mut network = Network::new();
    let [receiver, victim, attacker] = [(); 3].map(|()| network.add_host());
    let raw = attacker.namespace.run(RawSender::new);
    for version in [IpVersion::V4, IpVersion::V6] {
        let socket = receiver
            .namespace
            .run(|| client_socket(SocketAddr::new(receiver.ip(version), 0)));
        let from = SocketAddr::new(victim.ip(version), 4242);
        let extensions: &[&[Extension]] = match version {
            IpVersion::V4 => &[&[]],
            IpVersion::V6 => &[
                &[],
                &[Extension::DestinationOptions],
                &[Extension::HopByHop, Extension::DestinationOptions],
            ],
        };
        // With and without a last byte that has no other to make a word of the checksum.
        for (length, extensions) in (0..64).flat_map(|n| extensions.iter().map(move |e| (n, *e))) {
            let payload = messages::garbage(length);
            raw.send(&Datagram {
                extensions,
                ..Datagram::new(from, socket.local_addr(), &payload)
            });
            let received = receive_train(&socket, Some(Instant::now() + PATIENCE));
            assert_eq!(received, Some(vec![payload]), "{version:?} {extensions:?}");
        }
    }
}

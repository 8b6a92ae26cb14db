//! Tests of forged datagrams.

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
fn mac1_matches_a_real_initiation() {
    let gateway = PublicKey::from(&identity());
    let address = "192.0.2.1:51820".parse().unwrap();
    let real = Tunnel::new(identity(), address, &gateway).initiate();
    assert_eq!(messages::mac1(&gateway, &real[..116]), real[116..132]);
    let forged = messages::initiation(7, Mac1::Right(&gateway));
    assert_eq!(forged.len(), real.len());
    assert_eq!(messages::mac1(&gateway, &forged[..116]), forged[116..132]);
}

/// The kernel would drop datagrams with a wrong checksum or a wrong extension header.
#[test]
fn forged_datagrams_arrive_with_a_foreign_source_address() {
    if !may_make_namespaces("forged_datagrams_arrive_with_a_foreign_source_address") {
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
        // Even and odd lengths: the checksum pads an odd last byte.
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

//! Datagrams of any content and length: each is a counted drop without other effects.

use std::net::UdpSocket;

use snapgate::config::Forward;
use snapgate::drop_reason::DropReason;
use testkit::gateway::{TestGateway, config, scion};
use testkit::{client_socket, send_train};

/// Critical lengths: headers, message sizes, offloads, the maximum.
const LENGTHS: [usize; 16] = [
    0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 147, 148, 149, 1500, 65_507,
];

/// Returns noise that begins like a message of type `first`.
fn noise(first: u8, length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32 ^ u32::from(first) ^ length as u32;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect();
    for (byte, start) in bytes.iter_mut().zip([first, 0, 0, 0]) {
        *byte = start;
    }
    bytes
}

#[test]
fn garbage_on_the_tunnel_socket_is_counted_and_has_no_effect() {
    let gateway = TestGateway::start(&config(Forward::Echo));
    let mut client = gateway.client();
    let before = gateway.wait_for("the count of the handshake", |total| {
        total.tunnels == 1 && total.delivered_keepalives == 1
    });
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(gateway.listen_address()).unwrap();

    let mut sent = 0;
    for first in [0, 1, 2, 3, 4, 5, 255] {
        for length in LENGTHS {
            let datagram = noise(first, length);
            // From an address without a tunnel, and from an address with one.
            assert_eq!(stranger.send(&datagram).unwrap(), length);
            client.send_datagram(&datagram);
            sent += 2;
        }
    }
    // Datagrams that the kernel can tell from SNAPtun messages are dropped and counted there.
    gateway.wait_for("the count of all garbage", |total| {
        total.total_dropped() + total.kernel_drops_garbage == sent
    });

    client.send(b"still here");
    assert_eq!(client.receive(), b"still here");
    let total = gateway.stop();
    assert_eq!(total.tunnels, before.tunnels);
    assert_eq!(total.delivered_handshakes, before.delivered_handshakes);
}

#[test]
fn garbage_on_the_upstream_socket_is_counted_and_has_no_effect() {
    let router = UdpSocket::bind("127.0.0.1:0").unwrap();
    let forward = Forward::Scion(scion(&[(7, router.local_addr().unwrap())]));
    let gateway = TestGateway::start(&config(forward));
    router.connect(gateway.internal_address()).unwrap();

    let mut sent = 0;
    for first in [0x00, 0x01, 0x10, 0xff] {
        for length in LENGTHS {
            assert_eq!(router.send(&noise(first, length)).unwrap(), length);
            sent += 1;
        }
    }
    gateway.wait_for("the count of all garbage", |total| {
        total.total_dropped() == sent
    });
    let total = gateway.stop();
    assert_eq!(total.received_outgoing_packets, sent);
    assert_eq!(total.sent(), 0);
}

/// Sends datagrams as one train from a new socket.
fn send_alone(gateway: &TestGateway, datagrams: impl IntoIterator<Item = Vec<u8>>) -> u64 {
    let datagrams: Vec<_> = datagrams.into_iter().collect();
    let socket = client_socket("127.0.0.1:0".parse().unwrap());
    send_train(&socket, gateway.listen_address(), &datagrams);
    datagrams.len() as u64
}

#[test]
fn forged_handshake_messages_of_a_train_are_dropped_before_the_queue() {
    let gateway = TestGateway::start(&config(Forward::Echo));
    let mut sent = 0;
    for _ in 0..100 {
        sent += send_alone(&gateway, (0..40).map(|_| noise(1, 148)));
    }
    gateway.wait_for("all drops", |total| total.total_dropped() == sent);
    let total = gateway.stop();
    let forged = DropReason::Tunnel(snaptun::DropReason::InvalidMac);
    assert_eq!(total.dropped[forged.index()], sent);
}

#[test]
fn every_datagram_of_a_garbage_train_is_counted() {
    let gateway = TestGateway::start(&config(Forward::Echo));
    let mut sent = 0;
    // One-byte datagrams that together look like a data message; garbage; data and garbage alternating.
    sent += send_alone(
        &gateway,
        [4, 0, 0, 0]
            .into_iter()
            .cycle()
            .take(64)
            .map(|byte| vec![byte]),
    );
    sent += send_alone(&gateway, (0..40).map(|_| noise(9, 148)));
    sent += send_alone(&gateway, (0..40).map(|n| noise(4 + n % 2, 148)));
    gateway.wait_for("all drops", |total| total.total_dropped() == sent);
    let total = gateway.stop();
    let malformed = DropReason::Tunnel(snaptun::DropReason::Malformed);
    let no_tunnel = DropReason::Tunnel(snaptun::DropReason::NoTunnel);
    assert_eq!(total.received_incoming_packets, sent);
    assert_eq!(total.dropped[malformed.index()], 64 + 40 + 20);
    assert_eq!(total.dropped[no_tunnel.index()], 20);
}

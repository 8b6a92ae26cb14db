//! Datagrams of any content and length: each is a counted drop, and nothing else is disturbed.

use std::net::UdpSocket;

use snapgate::config::Forward;
use snapgate::drop_reason::{DropReason, QueueLoss};
use udp_shards::{Flush, SendQueue, SocketOptions, bind_client_socket};

use crate::gateway::{TestGateway, config, scion};

/// Lengths at which something could go wrong: headers, message sizes, offloads, the largest.
const LENGTHS: [usize; 16] = [
    0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 147, 148, 149, 1500, 65_507,
];

/// Bytes that begin like a message of `first` and go on like noise.
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
fn garbage_on_the_tunnel_socket_is_counted_and_disturbs_nobody() {
    let gateway = TestGateway::start(&config(Forward::Echo));
    let mut client = gateway.client();
    let before = gateway.wait_for("the count of the handshake", |total| {
        total.tunnels == 1 && total.delivered_keepalives == 1
    });
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(gateway.listen()).unwrap();

    let mut sent = 0;
    for first in [0, 1, 2, 3, 4, 5, 255] {
        for length in LENGTHS {
            let datagram = noise(first, length);
            // From an address without a tunnel, and from one that has one.
            assert_eq!(stranger.send(&datagram).unwrap(), length);
            client.send_datagram(&datagram);
            sent += 2;
        }
    }
    // What the kernel already knows to be no SNAPtun message is dropped and counted there.
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
fn garbage_on_the_upstream_socket_is_counted_and_disturbs_nobody() {
    let router = UdpSocket::bind("127.0.0.1:0").unwrap();
    let forward = Forward::Scion(scion(router.local_addr().unwrap()));
    let gateway = TestGateway::start(&config(forward));
    router
        .connect(gateway.gateway.internal_addr().unwrap())
        .unwrap();

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

#[test]
fn a_train_of_handshake_messages_is_cut_short() {
    const TRAIN: usize = 10;
    const TAKEN: u64 = 2;
    let gateway = TestGateway::start(&config(Forward::Echo));
    let local = "127.0.0.1:0".parse().unwrap();
    let socket = bind_client_socket(local, &SocketOptions::default()).unwrap();
    let mut queue = SendQueue::with_limits(TRAIN, TRAIN * 148);
    for _ in 0..TRAIN {
        assert!(queue.push(gateway.listen(), None, noise(1, 148)).is_ok());
    }
    let flush = queue.flush(&socket, &mut |_, result| assert_eq!(result, Ok(())));
    assert_eq!(flush, Flush::Empty);

    gateway.wait_for("ten drops", |total| total.total_dropped() == TRAIN as u64);
    let total = gateway.stop();
    let cut = DropReason::Queue(QueueLoss::HandshakeTrain);
    let looked_at = DropReason::Tunnel(snaptun::DropReason::InvalidMac);
    assert_eq!(total.dropped[cut.index()], TRAIN as u64 - TAKEN);
    assert_eq!(total.dropped[looked_at.index()], TAKEN);
}

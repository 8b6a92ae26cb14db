//! Each step of a packet's way through the gateway, on one core: `cargo bench -p benches`.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up must not run"
)]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Instant;

use benches::{ConnectedPair, LOCAL_ISD_AS, packet_to_remote};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use scion_packet::{IncomingPolicy, ScionPacket, delivery_port, egress_interface};
use snaptun::Packet;
use udp_shards::DispatchKey;

const SIZES: [usize; 3] = [128, 512, 1400];

fn client() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

fn main() {
    divan::main();
}

#[divan::bench]
fn dispatch_hash_ipv4(bencher: Bencher<'_, '_>) {
    let key = DispatchKey::from_words([1, 2]);
    let workers = NonZeroUsize::new(8).unwrap();
    bencher.bench(|| key.worker_of(black_box(client()), workers));
}

#[divan::bench]
fn policy_and_egress_interface(bencher: Bencher<'_, '_>) {
    let policy = IncomingPolicy {
        local_isd_as: vec![LOCAL_ISD_AS],
    };
    let packet = packet_to_remote(client(), 1400).unwrap();
    bencher.bench(|| {
        let view = policy.check(black_box(&packet), client()).unwrap();
        egress_interface(&view)
    });
}

#[divan::bench]
fn parse_and_delivery_port(bencher: Bencher<'_, '_>) {
    let packet = packet_to_remote(client(), 1400).unwrap();
    bencher.bench(|| delivery_port(&ScionPacket::parse(black_box(&packet)).unwrap()));
}

#[divan::bench(args = SIZES)]
fn shard_incoming(bencher: Bencher<'_, '_>, size: usize) {
    let mut pair = ConnectedPair::connect(client()).unwrap();
    let packet = packet_to_remote(client(), size).unwrap();
    let now = Instant::now();
    let pair = std::cell::RefCell::new(&mut pair);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| pair.borrow_mut().encapsulate(&packet).unwrap())
        .bench_local_values(|datagram| assert!(pair.borrow_mut().deliver(now, datagram)));
}

#[divan::bench(args = SIZES)]
fn shard_outgoing(bencher: Bencher<'_, '_>, size: usize) {
    let mut pair = ConnectedPair::connect(client()).unwrap();
    let packet = packet_to_remote(client(), size).unwrap();
    let now = Instant::now();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| Packet::copy_from(packet.as_slice()))
        .bench_local_values(|packet| {
            let fate =
                pair.shard
                    .handle_outgoing_packet(now, packet, client(), &mut pair.transmits);
            black_box(&fate);
            drop(fate);
            pair.transmits.pop_front()
        });
}

#[divan::bench]
fn handshake(bencher: Bencher<'_, '_>) {
    bencher.bench(|| ConnectedPair::connect(client()).unwrap());
}

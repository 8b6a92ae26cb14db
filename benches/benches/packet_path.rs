//! Steps of the packet path without system calls, on one core: `scripts/bench.sh packet_path`. Steps with system calls
//! are in `sockets`.
//!
//! Results are wall-clock times: measure on an otherwise idle machine.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up must not run"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use benches::{
    ConnectedPair, LOCAL_ISD_AS, RawTunnels, ShardWithTunnels, TUNNEL_OVERHEAD_BYTES,
    packet_to_remote,
};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use scion_packet::{IncomingPolicy, ScionPacket, delivery_port, egress_interface};
use snaptun::Packet;
use udp_shards::DispatchKey;

/// Packet sizes in bytes; 80 is the minimum of a packet with a path.
const SIZES: [usize; 4] = [80, 512, 1400, 8900];

/// Numbers of tunnels. A cold handshake takes 0.3 ms, so 100,000 tunnels take half a minute to set up.
const TUNNELS: [usize; 3] = [100, 10_000, 100_000];

/// Returns the address of client 0 of a shard.
fn client() -> SocketAddr {
    ShardWithTunnels::address_of(0)
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

/// `Tunn` alone, as in the floor.
#[divan::bench(args = SIZES)]
fn tunn_decapsulate(bencher: Bencher<'_, '_>, size: usize) {
    let tunnels = RefCell::new(RawTunnels::connect(1).unwrap());
    let packet = packet_to_remote(client(), size).unwrap();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| {
            tunnels
                .borrow_mut()
                .encapsulate_at_client(0, &packet)
                .unwrap()
        })
        .bench_local_values(|datagram| tunnels.borrow_mut().decapsulate_at_gateway(0, datagram));
}

/// `Tunn` alone, as in the floor.
#[divan::bench(args = SIZES)]
fn tunn_encapsulate(bencher: Bencher<'_, '_>, size: usize) {
    let mut tunnels = RawTunnels::connect(1).unwrap();
    let packet = packet_to_remote(client(), size).unwrap();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| Packet::copy_from(packet.as_slice()))
        .bench_local_values(|packet| tunnels.encapsulate_at_gateway(0, packet));
}

#[divan::bench(args = SIZES)]
fn shard_incoming(bencher: Bencher<'_, '_>, size: usize) {
    let pair = RefCell::new(ConnectedPair::connect().unwrap());
    let packet = packet_to_remote(client(), size).unwrap();
    let now = Instant::now();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| pair.borrow_mut().encapsulate(&packet).unwrap())
        .bench_local_values(|datagram| {
            assert!(pair.borrow_mut().gateway.deliver(now, 0, datagram));
        });
}

#[divan::bench(args = SIZES)]
fn shard_outgoing(bencher: Bencher<'_, '_>, size: usize) {
    let mut gateway = ConnectedPair::connect().unwrap().gateway;
    let packet = packet_to_remote(client(), size).unwrap();
    let now = Instant::now();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| Packet::copy_from(packet.as_slice()))
        .bench_local_values(|packet| {
            let fate =
                gateway
                    .shard
                    .handle_outgoing_packet(now, packet, client(), &mut gateway.transmits);
            black_box(&fate);
            drop(fate);
            gateway.transmits.pop_front()
        });
}

/// Lookup of a tunnel by its address, in an order without a pattern.
#[divan::bench(args = TUNNELS)]
fn table_lookup(bencher: Bencher<'_, '_>, tunnels: usize) {
    let gateway = shard_with(tunnels);
    let gateway = gateway.borrow();
    let mut number = 0;
    bencher.bench_local(|| {
        // Steps of a prime number reach every tunnel.
        number = (number + 7919) % tunnels;
        assert!(
            gateway
                .shard
                .has_tunnel(ShardWithTunnels::address_of(number))
        );
    });
}

/// Timers that are due within ten seconds of the gateway's time; timers of quiet tunnels are due every few seconds. A
/// result of 100 ms is 1 % of a core.
#[divan::bench(args = TUNNELS, max_time = 3)]
fn timers_of_ten_seconds(bencher: Bencher<'_, '_>, tunnels: usize) {
    let gateway = shard_with(tunnels);
    let mut gateway = gateway.borrow_mut();
    let ShardWithTunnels {
        shard, transmits, ..
    } = &mut *gateway;
    let mut now = Instant::now();
    bencher.counter(ItemsCount::new(tunnels)).bench_local(|| {
        let end = now + Duration::from_secs(10);
        while shard.next_timer() < end {
            now = now.max(shard.next_timer());
            shard.update_timers(now, transmits);
        }
        now = end;
        transmits.clear();
    });
}

/// Gateway's side of a handshake with an address without a tunnel.
#[divan::bench(sample_size = 16)]
fn handshake_answered(bencher: Bencher<'_, '_>) {
    let gateway = RefCell::new(ShardWithTunnels::new(Instant::now()));
    let mut next = 0;
    bencher
        .with_inputs(|| {
            next += 1;
            (next, gateway.borrow().initiate(next).unwrap().1)
        })
        .bench_local_values(|(number, initiation)| {
            let mut gateway = gateway.borrow_mut();
            gateway.deliver(Instant::now(), number, initiation);
            assert!(gateway.transmits.pop_front().is_some());
        });
}

/// Initiation over the budget, in a flood from forged addresses.
#[divan::bench]
fn initiation_answered_with_a_cookie(bencher: Bencher<'_, '_>) {
    let now = Instant::now();
    let mut gateway = ShardWithTunnels::with_handshakes_per_second(now, 0);
    let (_, initiation) = gateway.initiate(0).unwrap();
    bencher
        .with_inputs(|| Packet::copy_from(&initiation[..]))
        .bench_local_values(|initiation| {
            gateway.deliver(now, 0, initiation);
            assert!(gateway.transmits.pop_front().is_some());
        });
}

/// Replay of a captured initiation.
#[divan::bench]
fn initiation_replayed(bencher: Bencher<'_, '_>) {
    let now = Instant::now();
    let mut gateway = ShardWithTunnels::new(now);
    let (_, initiation) = gateway.initiate(0).unwrap();
    gateway.deliver(now, 0, Packet::copy_from(&initiation[..]));
    gateway.transmits.clear();
    bencher
        .with_inputs(|| Packet::copy_from(&initiation[..]))
        .bench_local_values(|initiation| {
            gateway.deliver(now, 1, initiation);
            assert!(gateway.transmits.is_empty());
        });
}

/// Client's side of a handshake: the initiation.
#[divan::bench]
fn handshake_initiated(bencher: Bencher<'_, '_>) {
    let gateway = ShardWithTunnels::new(Instant::now());
    bencher.bench_local(|| gateway.initiate(0).unwrap());
}

/// Returns a shard with `tunnels` tunnels, which is set up once.
fn shard_with(tunnels: usize) -> Rc<RefCell<ShardWithTunnels>> {
    thread_local! {
        static SHARDS: RefCell<HashMap<usize, Rc<RefCell<ShardWithTunnels>>>> = RefCell::default();
    }
    SHARDS.with_borrow_mut(|shards| {
        let shard = shards.entry(tunnels).or_insert_with(|| {
            let now = Instant::now();
            let mut gateway = ShardWithTunnels::new(now);
            for number in 0..tunnels {
                gateway.connect(now, number).unwrap();
            }
            Rc::new(RefCell::new(gateway))
        });
        Rc::clone(shard)
    })
}

const _: () = assert!(
    SIZES[3] + TUNNEL_OVERHEAD_BYTES < 9216,
    "the largest packet fits into the peer's buffers"
);

//! Measurement: delays and losses of a router beside routers and hosts that do not answer.
//!
//! `cargo test --release -p snapgate --test process neighbour_delays -- --ignored --nocapture`
#![expect(clippy::print_stdout, reason = "the result of the measurement")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::packets::{FAR_PORT, leaving_by, local, packet};
use testkit::{IpVersion, Pace, client_socket, receive_train};
use udp_shards::Dispatch;

use crate::neighbours::{Lan, host, router};

/// Packets per second to the router that is measured, number 4.
const MEASURED_PER_SECOND: u64 = 20_000;
/// Packets per second to all other routers, or all local hosts.
const OTHERS_PER_SECOND: u64 = 6_000;
const HOSTS: u16 = 120;
const RUN: Duration = Duration::from_secs(8);
const ROUNDS: usize = 5;
const PAYLOAD_BYTES: usize = 200;

/// What the gateway sends to beside the measured router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Others {
    /// Three routers that receive.
    Routers,
    /// Three routers that do not answer.
    DeadRouters,
    /// Three routers that do not answer in the first half of the run.
    ReturningRouters,
    /// Hosts that do not exist.
    DeadHosts,
}

const ALL: [Others; 4] = [
    Others::Routers,
    Others::DeadRouters,
    Others::ReturningRouters,
    Others::DeadHosts,
];

struct Result {
    sent: usize,
    lost: usize,
    /// In microseconds.
    p50: u64,
    p99: u64,
    max: u64,
}

fn run(others: Others) -> Result {
    let version = IpVersion::V4;
    let mut lan = Lan::new(version, Dispatch::Kernel);
    let alive: Vec<SocketAddr> = (1..=3).map(|number| router(version, number)).collect();
    let mut sockets = Vec::new();
    if others == Others::Routers {
        sockets.extend(alive.iter().map(|&address| lan.add(address)));
    }
    let start = Instant::now();
    let measured = lan.hosts.run(|| client_socket(router(version, 4)));
    let receiver = lan.hosts.spawn(move || {
        let mut delays = Vec::new();
        // Until nothing has arrived for a second.
        while let Some(train) =
            receive_train(&measured, Some(Instant::now() + Duration::from_secs(1)))
        {
            let now = start.elapsed().as_micros() as u64;
            for packet in train {
                let stamp = &packet[packet.len() - PAYLOAD_BYTES..][..8];
                delays.push(now.saturating_sub(u64::from_be_bytes(stamp.try_into().unwrap())));
            }
        }
        delays
    });
    let from = lan.client.address();
    let to_router = |interface: u16, stamp: u64| {
        let mut payload = [0; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&stamp.to_be_bytes());
        let builder = leaving_by(interface, local(from.ip()));
        packet(|out| builder.append_udp(from.port(), FAR_PORT, &payload, out))
    };
    let (mut pace, mut other_pace) = (Pace::new(MEASURED_PER_SECOND), Pace::new(OTHERS_PER_SECOND));
    let (mut sent, mut number) = (0, 0_u16);
    while start.elapsed() < RUN {
        let burst = pace.next_burst() as usize;
        let stamp = start.elapsed().as_micros() as u64;
        lan.send(&vec![to_router(4, stamp); burst]);
        sent += burst;
        let mut packets = Vec::new();
        for _ in 0..other_pace.take(32) {
            number = number.wrapping_add(1);
            packets.push(match others {
                Others::DeadHosts => lan.to_host(host(version, number % HOSTS)),
                _ => to_router(1 + number % 3, stamp),
            });
        }
        if !packets.is_empty() {
            lan.send(&packets);
        }
        if others == Others::ReturningRouters && sockets.is_empty() && start.elapsed() > RUN / 2 {
            sockets.extend(alive.iter().map(|&address| lan.add(address)));
        }
    }
    let mut delays = receiver.join().unwrap();
    delays.sort_unstable();
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100];
    let result = Result {
        sent,
        lost: sent - delays.len(),
        p50: at(50),
        p99: at(99),
        max: at(100),
    };
    if result.lost > 0 {
        println!("{}", lan.gateway.metrics());
    }
    lan.gateway.kill();
    result
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement, which needs root and an idle machine"]
fn delays_of_a_router_beside_others_that_do_not_answer() {
    let mut results: Vec<Vec<Result>> = ALL.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (others, results) in ALL.into_iter().zip(&mut results) {
            let result = run(others);
            println!(
                "{others:?}: sent {}, lost {}, p50 {} µs, p99 {} µs, max {} µs",
                result.sent, result.lost, result.p50, result.p99, result.max
            );
            results.push(result);
        }
    }
    for (others, results) in ALL.into_iter().zip(results) {
        println!(
            "median of {others:?}: lost {}, p50 {} µs, p99 {} µs, max {} µs",
            results.iter().map(|result| result.lost).sum::<usize>(),
            median(results.iter().map(|result| result.p50).collect()),
            median(results.iter().map(|result| result.p99).collect()),
            median(results.iter().map(|result| result.max).collect())
        );
    }
}

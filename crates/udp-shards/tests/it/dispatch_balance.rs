//! The dispatch hash spreads addresses evenly, for all patterns of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use udp_shards::DispatchKey;

use crate::support::workers;

/// Returns Pearson's statistic of the counts, minus its mean, in standard deviations.
fn deviation(key: &DispatchKey, count: usize, addresses: &[SocketAddr]) -> f64 {
    let mut counts = vec![0_u32; count];
    for &address in addresses {
        counts[key.worker_of(address, workers(count))] += 1;
    }
    let expected = addresses.len() as f64 / count as f64;
    let statistic: f64 = counts
        .iter()
        .map(|&observed| (f64::from(observed) - expected).powi(2) / expected)
        .sum();
    let freedom = (count - 1) as f64;
    (statistic - freedom) / (2.0 * freedom).sqrt()
}

/// Every key must spread evenly, also with few bits set.
const KEYS: [DispatchKey; 8] = [
    DispatchKey::from_words([0, 0]),
    DispatchKey::from_words([1, 0]),
    DispatchKey::from_words([0, 1 << 31]),
    DispatchKey::from_words([1 << 16, 1 << 16]),
    DispatchKey::from_words([u32::MAX, u32::MAX]),
    DispatchKey::from_words([0x243f_6a88, 0x85a3_08d3]),
    DispatchKey::from_words([0x1319_8a2e, 0x0370_7344]),
    DispatchKey::from_words([0xa409_3822, 0x299f_31d0]),
];

fn assert_balanced(address_of: impl Fn(u32) -> SocketAddr) {
    for total in [100, 1000, 10_000] {
        let addresses: Vec<SocketAddr> = (0..total).map(&address_of).collect();
        for count in [2, 7, 64] {
            let deviations = KEYS.map(|key| deviation(&key, count, &addresses));
            let worst = deviations.into_iter().fold(f64::MIN, f64::max);
            assert!(
                worst < 6.0,
                "{total} over {count}: {worst} standard deviations"
            );
            // A spread that is too even is also a pattern: the mean over the keys must be near 0.
            let mean = deviations.into_iter().sum::<f64>() / KEYS.len() as f64;
            assert!(mean.abs() < 1.5, "{total} over {count}: mean {mean}");
        }
    }
}

#[test]
fn sequential_ports_spread_evenly() {
    assert_balanced(|number| {
        SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 1024 + number as u16)
    });
    assert_balanced(|number| SocketAddr::new("2001:db8::1".parse().unwrap(), 1024 + number as u16));
}

#[test]
fn sequential_addresses_spread_evenly() {
    assert_balanced(|number| {
        SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + number).into(), 51820)
    });
    for shift in [0, 32, 64, 96] {
        assert_balanced(|number| {
            let ip = Ipv6Addr::from_bits(0x2001_0db8 << 96 ^ u128::from(number) << shift);
            SocketAddr::new(IpAddr::V6(ip), 51820)
        });
    }
}

#[test]
fn every_worker_is_in_range_and_a_single_worker_owns_all_addresses() {
    let address = "192.0.2.1:4000".parse().unwrap();
    for key in KEYS {
        assert_eq!(key.worker_of(address, workers(1)), 0);
        for count in 1..200 {
            assert!(key.worker_of(address, workers(count)) < count);
        }
    }
}

#[test]
fn another_key_gives_another_spread() {
    let addresses: Vec<SocketAddr> = (0..1000)
        .map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        .collect();
    let [first, second] = [
        DispatchKey::random().unwrap(),
        DispatchKey::random().unwrap(),
    ];
    let count = workers(16);
    let same = addresses
        .iter()
        .filter(|&&address| first.worker_of(address, count) == second.worker_of(address, count))
        .count();
    // 62 are expected; 200 is 18 standard deviations more.
    assert!(same < 200, "{same} of 1000 addresses keep their worker");
}

#[test]
fn flow_label_and_scope_are_ignored() {
    let plain: SocketAddr = "[fe80::1]:9".parse().unwrap();
    let mut scoped = plain;
    if let SocketAddr::V6(v6) = &mut scoped {
        v6.set_scope_id(7);
        v6.set_flowinfo(0x1234);
    }
    for key in KEYS {
        assert_eq!(
            key.worker_of(plain, workers(64)),
            key.worker_of(scoped, workers(64))
        );
    }
}

#[test]
fn debug_does_not_print_the_key() {
    let key = DispatchKey::from_words([0x1234_5678, 0x9abc_def0]);
    assert_eq!(format!("{key:?}"), "DispatchKey(..)");
}

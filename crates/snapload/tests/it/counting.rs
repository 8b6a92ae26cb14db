//! Exact counts of the faults of a gateway.
//!
//! Faults are counted with closed loops: their small windows fit into the smallest socket buffers, so that nothing else
//! is lost on a slow machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use snapload::{Identities, LoadConfig, LoadError, Progress, Rate, Report};
use testkit::{EchoGateway, Fault, no_fault};

/// Returns a run of 200 ms with small packets and without warm-up, and a gateway that admits it.
fn config_for(tunnels: usize, fault: Fault) -> (EchoGateway, LoadConfig) {
    let identities = Identities::from_seed(7, tunnels);
    let gateway = EchoGateway::start(identities.public_keys(), fault);
    let mut config = LoadConfig::new(gateway.address, gateway.public_key, identities);
    config.cpus = snapload::Cpus::Unpinned;
    config.sizes = 100.into();
    config.warm_up = Duration::ZERO;
    config.duration = Duration::from_millis(200);
    config.catch_up = Some(Duration::from_secs(60));
    config.drain = Duration::from_secs(60);
    (gateway, config)
}

/// Runs a closed loop until it has sent enough and received everything.
fn closed_loop(tunnels: usize, fault: Fault) -> Report {
    let (_gateway, config) = config_for(tunnels, fault);
    closed_loop_until(config, |sent| sent >= 320)
}

/// Runs a closed loop that loses packets and therefore has a limited drain. The other packets arrive much earlier.
fn lossy_closed_loop(tunnels: usize, fault: Fault) -> Report {
    let (_gateway, mut config) = config_for(tunnels, fault);
    config.drain = Duration::from_secs(5);
    closed_loop_until(config, |sent| sent >= 320)
}

/// Runs a closed loop until `is_enough` returns true for the number of packets sent.
fn closed_loop_until(mut config: LoadConfig, is_enough: impl Fn(u64) -> bool) -> Report {
    config.rate = Rate::Max { window: 32 };
    config.duration = Duration::from_secs(3600);
    config.interval = Duration::from_millis(20);
    let stop = config.stop.clone();
    let mut sent = 0;
    snapload::run(&config, &mut |progress| {
        if let Progress::Interval(interval) = progress {
            sent += interval.counts.sent;
            if is_enough(sent) {
                stop.set();
            }
        }
    })
    .unwrap()
}

/// Returns a fault that affects every `period`-th packet, and its number of occurrences.
fn every(
    period: u64,
    mut fault: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (Fault, Arc<AtomicU64>) {
    let struck = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&struck);
    let mut packets = 0;
    let strike = move |packet: &[u8]| {
        packets += 1;
        if packets % period == 0 {
            counter.fetch_add(1, Ordering::Relaxed);
            fault(packet)
        } else {
            vec![packet.to_vec()]
        }
    };
    (Box::new(strike), struck)
}

/// Returns the number of occurrences of a fault. Panics if there were none, because the test would prove nothing.
fn strikes(struck: &AtomicU64) -> u64 {
    let strikes = struck.load(Ordering::Relaxed);
    assert!(strikes > 0);
    strikes
}

#[test]
fn good_gateway_loses_nothing_at_a_moderate_rate() {
    let (_gateway, mut config) = config_for(4, no_fault());
    config.threads = 2;
    config.rate = Rate::PerSecond(500.0);
    config.duration = Duration::from_secs(1);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.counts.due, report.lost), (500, 0));
    assert_eq!(report.counts.sent, report.counts.received);
    assert_eq!(report.latency.count, report.counts.received);
    assert_eq!(report.connect.tunnels, 4);
    assert_eq!(
        report
            .threads
            .iter()
            .map(|thread| thread.tunnels)
            .sum::<usize>(),
        4
    );
}

#[test]
fn warm_up_is_not_counted() {
    let (_gateway, mut config) = config_for(1, no_fault());
    config.rate = Rate::PerSecond(1000.0);
    config.warm_up = Duration::from_millis(300);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.counts.due, report.lost), (200, 0));
    assert!(report.counts.sent <= 200);
}

#[test]
fn trains_keep_the_offered_rate() {
    let (_gateway, mut config) = config_for(2, no_fault());
    config.rate = Rate::PerSecond(1600.0);
    config.train = Some(16);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.counts.due, report.lost), (320, 0));
}

#[test]
fn lost_packets_are_counted() {
    let (fault, struck) = every(10, |_| Vec::new());
    let report = lossy_closed_loop(2, fault);
    assert_eq!(report.lost, strikes(&struck));
    assert_eq!(report.counts.reordered, 0);
}

#[test]
fn total_loss_is_a_result() {
    let (_gateway, mut config) = config_for(1, Box::new(|_| Vec::new()));
    config.drain = Duration::from_millis(10);
    let report = closed_loop_until(config, |sent| sent >= 32);
    assert!(report.counts.sent >= 32);
    assert_eq!((report.lost, report.loss_share), (report.counts.sent, 1.0));
    assert_eq!(report.latency.count, 0);
}

#[test]
fn duplicates_are_counted_but_not_as_replies() {
    // Every tenth packet is returned after a second copy of the previous one. A copy that comes last could arrive after
    // the end of the run and not be counted.
    let (mut before, mut packets) = (Vec::new(), 0);
    let copies = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&copies);
    let report = closed_loop(
        1,
        Box::new(move |packet| {
            packets += 1;
            let before = std::mem::replace(&mut before, packet.to_vec());
            if packets % 10 == 0 {
                counter.fetch_add(1, Ordering::Relaxed);
                return vec![before, packet.to_vec()];
            }
            vec![packet.to_vec()]
        }),
    );
    assert_eq!(
        (report.counts.duplicated, report.lost),
        (strikes(&copies), 0)
    );
    assert_eq!(report.latency.count, report.counts.received);
}

#[test]
fn overtaken_packets_are_counted_as_reordered() {
    // Every tenth packet is held back until the next one was returned.
    let (mut held, mut packets) = (None::<Vec<u8>>, 0);
    let overtakings = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&overtakings);
    let report = lossy_closed_loop(
        1,
        Box::new(move |packet| {
            packets += 1;
            if packets % 10 == 0 {
                held = Some(packet.to_vec());
                return Vec::new();
            }
            let mut replies = vec![packet.to_vec()];
            if let Some(held) = held.take() {
                counter.fetch_add(1, Ordering::Relaxed);
                replies.push(held);
            }
            replies
        }),
    );
    assert_eq!(report.counts.reordered, strikes(&overtakings));
    // The last packet may still be held back.
    assert!(report.lost <= 1);
}

#[test]
fn damaged_packets_are_counted_as_corrupted_and_lost() {
    let (fault, struck) = every(10, |packet| {
        let mut damaged = packet.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        vec![damaged]
    });
    let report = lossy_closed_loop(2, fault);
    let strikes = strikes(&struck);
    assert_eq!((report.counts.corrupted, report.lost), (strikes, strikes));
}

#[test]
fn packets_of_another_tunnel_are_counted_as_misdelivered() {
    let mut first = None::<Vec<u8>>;
    let (fault, struck) = every(1, move |packet| {
        // Both tunnels get the very first packet each time, ahead of their own: after the last of their own it could
        // arrive after the end of the run.
        vec![
            first.get_or_insert_with(|| packet.to_vec()).clone(),
            packet.to_vec(),
        ]
    });
    let report = closed_loop(2, fault);
    assert!(report.counts.misdelivered > 0);
    assert_eq!(
        report.counts.misdelivered + report.counts.duplicated,
        strikes(&struck)
    );
    assert_eq!((report.lost, report.counts.corrupted), (0, 0));
}

#[test]
fn scmp_messages_are_counted() {
    let (fault, struck) = every(10, |packet| {
        let mut scmp = packet.to_vec();
        scmp[4] = 202;
        scmp.truncate(60);
        vec![scmp]
    });
    let report = lossy_closed_loop(1, fault);
    let strikes = strikes(&struck);
    assert_eq!((report.counts.scmp, report.counts.corrupted), (strikes, 0));
    assert_eq!(report.lost, strikes);
}

#[test]
fn intervals_add_up_to_the_report() {
    let (_gateway, mut config) = config_for(3, no_fault());
    config.threads = 2;
    config.rate = Rate::Max { window: 32 };
    // Shorter than the scheduling delays of a busy machine.
    config.interval = Duration::from_millis(1);
    let mut intervals = Vec::new();
    let report = snapload::run(&config, &mut |progress| {
        if let Progress::Interval(interval) = progress {
            intervals.push(interval);
        }
    })
    .unwrap();
    let ends: Vec<f64> = intervals
        .iter()
        .map(|interval| interval.end_seconds)
        .collect();
    let wanted: Vec<f64> = (1..=200)
        .map(|ms| f64::from(ms * 1_000_000) / 1e9)
        .collect();
    assert_eq!(ends, wanted);
    let sent: u64 = intervals.iter().map(|interval| interval.counts.sent).sum();
    assert_eq!(sent, report.counts.sent);
    // The last replies come after the last interval.
    let received: u64 = intervals
        .iter()
        .map(|interval| interval.counts.received)
        .sum();
    assert!(received <= report.counts.received);
    assert_eq!(report.lost, 0);
}

#[test]
fn only_active_tunnels_carry_packets() {
    let mut seen = std::collections::HashSet::new();
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let fault = Box::new(move |packet: &[u8]| {
        // The tunnel's port is the SCION/UDP source port.
        if seen.insert(packet[36..38].to_vec()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        vec![packet.to_vec()]
    });
    let (_gateway, mut config) = config_for(20, fault);
    config.threads = 2;
    config.active = Some(6);
    let report = closed_loop_until(config, |sent| {
        sent >= 320 && count.load(Ordering::Relaxed) >= 6
    });
    assert_eq!((report.connect.tunnels, report.lost), (20, 0));
    assert_eq!(count.load(Ordering::Relaxed), 6);
}

#[test]
fn pre_encrypted_packets_are_counted_like_others() {
    let (_gateway, mut config) = config_for(4, no_fault());
    config.threads = 2;
    config.rate = Rate::PerSecond(1000.0);
    config.warm_up = Duration::from_millis(100);
    config.pre_encrypt_bytes = Some(1 << 20);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.counts.due, report.lost), (200, 0));
    assert_eq!((report.counts.corrupted, report.counts.refused), (0, 0));
    assert_eq!(report.latency.count, report.counts.received);
    // A missing scheduled time would show as the age of the run.
    assert!(report.latency.max_ns > 0 && report.latency.max_ns < 60_000_000_000);
    assert!(!report.used_up);
}

#[test]
fn closed_loop_ends_when_pre_encrypted_packets_are_used_up() {
    let (_gateway, mut config) = config_for(2, no_fault());
    config.rate = Rate::Max { window: 32 };
    config.duration = Duration::from_secs(60);
    config.pre_encrypt_bytes = Some(100_000);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert!(report.used_up && report.seconds < 60.0);
    // 244 bytes each, in trains of 16.
    assert_eq!((report.counts.sent, report.lost), (400, 0));
}

#[test]
fn stopping_a_run_ends_pre_encryption() {
    let (_gateway, mut config) = config_for(2, no_fault());
    config.rate = Rate::PerSecond(1_000_000.0);
    config.warm_up = Duration::from_millis(100);
    config.duration = Duration::from_secs(2);
    config.pre_encrypt_bytes = Some(1 << 30);
    let stop = config.stop.clone();
    let mut is_encrypted = false;
    let error = snapload::run(&config, &mut |progress| match progress {
        Progress::Encrypting => stop.set(),
        Progress::WarmUp => is_encrypted = true,
        _ => {}
    });
    assert!(!is_encrypted);
    assert!(matches!(error, Err(LoadError::Interrupted)));
}

#[test]
fn using_up_pre_encrypted_packets_in_the_warm_up_is_an_error() {
    let (_gateway, mut config) = config_for(2, no_fault());
    config.rate = Rate::Max { window: 32 };
    config.warm_up = Duration::from_secs(60);
    config.pre_encrypt_bytes = Some(100_000);
    let error = snapload::run(&config, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("warm-up"), "{error}");
}

#[test]
fn panic_in_the_callers_code_ends_the_run() {
    let (_gateway, mut config) = config_for(2, no_fault());
    config.duration = Duration::from_secs(3600);
    let run = std::panic::AssertUnwindSafe(|| {
        snapload::run(&config, &mut |progress| {
            assert!(
                matches!(progress, Progress::Connecting { .. }),
                "on purpose"
            );
        })
    });
    assert!(std::panic::catch_unwind(run).is_err());
}

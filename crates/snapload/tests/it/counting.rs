//! What a gateway does to packets is counted exactly.
//!
//! Faults are counted with closed loops: their small windows fit into the smallest socket buffers,
//! so that nothing else is ever lost, however slow the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use snapload::{Identities, LoadConfig, LoadError, Progress, Rate, Report};
use testkit::{EchoGateway, Fault, no_fault};

/// A run of 200 ms with small packets and without warm-up, against a gateway that admits it.
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

/// A closed loop that ends when it has sent enough, and has got everything back.
fn closed_loop(tunnels: usize, fault: Fault) -> Report {
    let (_gateway, config) = config_for(tunnels, fault);
    closed_loop_until(config, |sent| sent >= 320)
}

/// A closed loop whose packets are lost now and then, so that the end of its wait for them has to be given. The
/// others are back within much less.
fn lossy_closed_loop(tunnels: usize, fault: Fault) -> Report {
    let (_gateway, mut config) = config_for(tunnels, fault);
    config.drain = Duration::from_secs(5);
    closed_loop_until(config, |sent| sent >= 320)
}

/// A closed loop that ends when `is_enough` says so of the number of packets sent.
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

/// A fault that strikes every `period`-th packet, and how often it has struck.
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

/// How often a fault struck; at least once, or the test tests nothing.
fn strikes(struck: &AtomicU64) -> u64 {
    let strikes = struck.load(Ordering::Relaxed);
    assert!(strikes > 0);
    strikes
}

#[test]
fn a_good_gateway_loses_nothing_at_a_modest_rate() {
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
fn the_warm_up_does_not_count() {
    let (_gateway, mut config) = config_for(1, no_fault());
    config.rate = Rate::PerSecond(1000.0);
    config.warm_up = Duration::from_millis(300);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.counts.due, report.lost), (200, 0));
    assert!(report.counts.sent <= 200);
}

#[test]
fn trains_add_up_to_the_rate() {
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
fn everything_lost_is_a_result() {
    let (_gateway, mut config) = config_for(1, Box::new(|_| Vec::new()));
    config.drain = Duration::from_millis(10);
    let report = closed_loop_until(config, |sent| sent >= 32);
    assert!(report.counts.sent >= 32);
    assert_eq!((report.lost, report.loss_share), (report.counts.sent, 1.0));
    assert_eq!(report.latency.count, 0);
}

#[test]
fn duplicates_are_counted_and_are_no_replies() {
    // Every tenth packet is returned behind a second copy of the one before it. A copy that comes last may come
    // when the run has ended, and is not counted then.
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
    // The last packet may be one that is still held back.
    assert!(report.lost <= 1);
}

#[test]
fn damaged_packets_are_counted_and_are_lost() {
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
fn packets_of_another_tunnel_are_noticed() {
    let mut first = None::<Vec<u8>>;
    let (fault, struck) = every(1, move |packet| {
        // Both tunnels get the very first packet each time, ahead of their own: what comes behind the last of
        // their own may come when the run has ended.
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
fn scmp_messages_are_told_apart() {
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
    // Shorter than the pauses of a thread on a busy machine.
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
fn only_active_tunnels_carry_packets_and_the_others_stay_connected() {
    let mut seen = std::collections::HashSet::new();
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let fault = Box::new(move |packet: &[u8]| {
        // The tunnel's port, as the SCION/UDP source port.
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
fn packets_encrypted_beforehand_are_counted_like_others() {
    let (_gateway, mut config) = config_for(4, no_fault());
    config.threads = 2;
    config.rate = Rate::PerSecond(1000.0);
    config.warm_up = Duration::from_millis(100);
    config.pre_encrypt_bytes = Some(1 << 20);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.counts.due, report.lost), (200, 0));
    assert_eq!((report.counts.corrupted, report.counts.refused), (0, 0));
    assert_eq!(report.latency.count, report.counts.received);
    // A time that is none would be as old as the run.
    assert!(report.latency.max_ns > 0 && report.latency.max_ns < 60_000_000_000);
    assert!(!report.used_up);
}

#[test]
fn a_closed_loop_ends_when_the_packets_encrypted_beforehand_are_used_up() {
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
fn a_run_that_is_stopped_encrypts_no_more() {
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
fn packets_encrypted_beforehand_that_last_no_longer_than_the_warm_up_are_an_error() {
    let (_gateway, mut config) = config_for(2, no_fault());
    config.rate = Rate::Max { window: 32 };
    config.warm_up = Duration::from_secs(60);
    config.pre_encrypt_bytes = Some(100_000);
    let error = snapload::run(&config, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("warm-up"), "{error}");
}

#[test]
fn a_panic_of_the_callers_code_ends_the_run() {
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

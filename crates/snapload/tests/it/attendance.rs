//! Tunnels that connect and leave during a run, commanded handshakes, and rates that vary.

use std::time::Duration;

use snapload::{
    Counts, Cpus, Identities, LoadConfig, PacketSizes, Presence, Progress, Rate, Report, Shares,
};
use testkit::{EchoGateway, no_fault};

/// Returns a run of half a second with small packets at a moderate rate, and a gateway that admits it.
fn config_for(identities: usize) -> (EchoGateway, LoadConfig) {
    let identities = Identities::from_seed(21, identities);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = LoadConfig::new(gateway.address, gateway.public_key, identities);
    config.cpus = Cpus::Unpinned;
    config.sizes = PacketSizes::Fixed(100);
    config.rate = Rate::PerSecond(800.0);
    config.warm_up = Duration::ZERO;
    config.duration = Duration::from_millis(500);
    config.catch_up = Some(Duration::from_secs(60));
    config.drain = Duration::from_secs(60);
    (gateway, config)
}

fn run(config: &LoadConfig) -> Report {
    snapload::run(config, &mut |_| {}).unwrap()
}

/// Runs until enough has been counted.
fn run_until(mut config: LoadConfig, is_enough: impl Fn(&Counts) -> bool) -> Report {
    config.duration = Duration::from_secs(3600);
    config.interval = Duration::from_millis(50);
    let stop = config.stop.clone();
    let mut counts = Counts::default();
    snapload::run(&config, &mut |progress| {
        if let Progress::Interval(interval) = progress {
            counts += interval.counts;
            if is_enough(&counts) {
                stop.set();
            }
        }
    })
    .unwrap()
}

fn connected_at_the_end(report: &Report) -> usize {
    report.threads.iter().map(|thread| thread.connected).sum()
}

#[test]
fn all_tunnels_connect_at_once_during_the_measurement() {
    let (_gateway, mut config) = config_for(20);
    config.threads = 2;
    config.rate = Rate::PerSecond(100.0);
    config.presence = Presence::AtOnce {
        after: Duration::from_millis(100),
    };
    let report = run_until(config, |counts| {
        counts.connected == 20 && counts.received > 0
    });
    assert_eq!((report.connect.tunnels, report.counts.connected), (0, 20));
    assert_eq!(
        (report.handshake.count, connected_at_the_end(&report)),
        (20, 20)
    );
    // No packet is due before its tunnel is connected. Each thread rounds on its own.
    let due_max = 100.0 * (report.seconds - 0.1) + 2.0;
    assert!(report.counts.due as f64 <= due_max, "{report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
}

#[test]
fn tunnels_that_never_connect_are_reported() {
    let (gateway, mut config) = config_for(3);
    config.gateway_public_key = [1; 32];
    config.connect_timeout = Duration::from_millis(100);
    config.presence = Presence::AtOnce {
        after: Duration::ZERO,
    };
    let report = run(&config);
    drop(gateway);
    assert_eq!((report.counts.connected, report.counts.due), (0, 0));
    assert_eq!(connected_at_the_end(&report), 0);
}

#[test]
fn tunnels_are_replaced_after_their_lifetime() {
    let (_gateway, mut config) = config_for(12);
    config.threads = 2;
    config.rate = Rate::PerSecond(100.0);
    config.presence = Presence::Turnover {
        tunnels: 4,
        lifetime: Presence::MIN_LIFETIME,
    };
    let report = run_until(config, |counts| {
        counts.departed >= 3 && counts.connected >= 1
    });
    assert_eq!(report.connect.tunnels, 4);
    // One departure every 250 ms.
    let departed_max = (report.seconds / 0.25) as u64 + 1;
    assert!(report.counts.departed <= departed_max, "{report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
}

#[test]
fn commanded_handshake_loses_nothing() {
    let (_gateway, mut config) = config_for(20);
    config.threads = 2;
    config.rekey_at = Some(Duration::from_millis(100));
    let report = run(&config);
    assert_eq!((report.counts.rekeyed, report.counts.connected), (20, 0));
    assert_eq!((report.counts.due, report.lost), (400, 0));
    // First handshakes count as well.
    assert_eq!(report.handshake.count, 40);
}

#[test]
fn ramp_counts_every_packet_in_its_step() {
    let (_gateway, mut config) = config_for(4);
    config.threads = 2;
    config.rate = Rate::Ramp {
        from: 200.0,
        to: 800.0,
        steps: 4.try_into().unwrap(),
    };
    let report = run(&config);
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|step| (step.offered_pps, step.sent, step.received))
        .collect();
    let wanted = [(200.0, 25), (400.0, 50), (600.0, 75), (800.0, 100)];
    // Each thread rounds on its own.
    for (step, (pps, packets)) in steps.iter().zip(wanted) {
        assert_eq!(step.0, pps);
        assert!(
            step.1.abs_diff(packets) <= 1 && step.1 == step.2,
            "{steps:?}"
        );
    }
    assert_eq!(report.offered_pps, Some(500.0));
}

#[test]
fn unequal_shares_make_few_tunnels_send_most_packets() {
    let (_gateway, mut config) = config_for(10);
    config.threads = 2;
    config.shares = Shares::Zipf(1.0);
    let report = run(&config);
    assert_eq!(report.lost, 0);
    // The tunnels of the first thread have the first, third, ... share: 1.787 of 2.929.
    let first = report.threads[0].sent as f64 / report.counts.sent as f64;
    assert!((first - 0.61).abs() < 0.02, "{first}");
}

#[test]
fn closed_loop_is_refused_for_tunnels_that_connect_later() {
    let (_gateway, mut config) = config_for(2);
    config.presence = Presence::AtOnce {
        after: Duration::ZERO,
    };
    config.rate = Rate::Max { window: 32 };
    let error = snapload::run(&config, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("need a rate"), "{error}");
}

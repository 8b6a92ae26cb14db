//! Searches for the highest rate. Their decisions are unit-tested; these tests check that they measure.

use std::time::Duration;

use snapload::{Cpus, Identities, LoadConfig, SearchConfig, SearchProgress, SearchReport, search};
use testkit::{EchoGateway, Fault, no_fault};

/// `drain` is how long each trial waits for packets that do not come back.
fn search_between(
    min_pps: f64,
    max_pps: f64,
    drain: Duration,
    fault: Fault,
) -> (SearchReport, u32) {
    let identities = Identities::from_seed(21, 3);
    let gateway = EchoGateway::start(identities.public_keys(), fault);
    let mut config = LoadConfig::new(gateway.address, gateway.public_key, identities);
    config.cpus = Cpus::Unpinned;
    config.sizes = 100.into();
    config.catch_up = Some(Duration::from_secs(60));
    config.drain = drain;
    let how = SearchConfig {
        min_pps,
        max_pps,
        trial: Duration::from_millis(50),
        warm_up: Duration::ZERO,
        ..SearchConfig::default()
    };
    let mut trials = 0;
    let report = search(&config, &how, &mut |progress| {
        if let SearchProgress::TrialEnded(trial) = progress {
            trials += 1;
            assert_eq!(trial.plan.number, trials);
            assert!((min_pps..=max_pps).contains(&trial.plan.offered_pps));
        }
    })
    .unwrap();
    (report, trials)
}

#[test]
fn gateway_without_limit_has_a_lower_bound_for_every_target() {
    let (report, trials) = search_between(50.0, 100.0, Duration::from_secs(60), no_fault());
    assert_eq!((report.found.len(), report.trials), (2, trials));
    assert_eq!(report.connect.tunnels, 3);
    assert!(report.found.iter().all(|found| found.is_lower_bound));
}

#[test]
fn gateway_that_always_loses_has_no_rate() {
    let drain = Duration::from_millis(10);
    let (report, _) = search_between(500.0, 2000.0, drain, Box::new(|_| Vec::new()));
    for found in report.found {
        assert_eq!((found.pps, found.above_pps), (None, Some(500.0)));
        assert!(!found.is_lower_bound);
    }
}

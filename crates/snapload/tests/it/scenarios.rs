//! Scenarios against a gateway, with small populations of each kind.

use std::time::Duration;

use snapload::scenario::{PhaseReport, Scenario, ScenarioError, ScenarioProgress, ScenarioReport};
use snapload::{Cpus, Identities, LoadConfig};
use testkit::scenario::{HONEST, lossy, scenario_file};
use testkit::{EchoGateway, Fault, no_fault};

fn scenario(phases: &str) -> Scenario {
    Scenario::read_file(scenario_file(phases).path()).unwrap()
}

fn play_against(scenario: &Scenario, fault: Fault) -> ScenarioReport {
    let identities = Identities::from_seed(31, scenario.identities_needed());
    let gateway = EchoGateway::start(identities.public_keys(), fault);
    let mut base = LoadConfig::new(gateway.address, gateway.public_key, identities);
    base.cpus = Cpus::Unpinned;
    base.connect_timeout = Duration::from_secs(60);
    base.catch_up = Some(Duration::from_secs(60));
    scenario.run(&base, &mut |_| {}).unwrap()
}

fn play(phases: &str) -> ScenarioReport {
    play_against(&scenario(phases), no_fault())
}

fn failures(phase: &PhaseReport) -> Vec<(&str, &str)> {
    phase.failed_checks().collect()
}

#[test]
fn populations_run_together_and_phases_in_sequence() {
    let newcomers = "
    [[phase.load]]
    name = \"newcomers\"
    tunnels = 10
    rate = 100
    size = 100
    connect_at = \"100ms\"
    check = { max_connect = \"1m\", min = { connected = 10 }, max = { unconnected = 0, lost = 0 } }
    ";
    let second = HONEST.replace("first", "second");
    let scenario = scenario(&format!("{HONEST}{newcomers}{second}"));
    assert_eq!(scenario.identities_needed(), 20);
    let identities = Identities::from_seed(31, 20);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut base = LoadConfig::new(gateway.address, gateway.public_key, identities);
    base.cpus = Cpus::Unpinned;
    base.connect_timeout = Duration::from_secs(60);
    base.catch_up = Some(Duration::from_secs(60));
    base.interval = Duration::from_millis(200);
    let mut told = Vec::new();
    let report = scenario
        .run(&base, &mut |progress| match progress {
            ScenarioProgress::Phase(phase) => told.push(phase.name.clone()),
            ScenarioProgress::Interval { loads, .. } => {
                told.push(format!("{} at {}", loads.len(), loads[0].end_seconds));
            }
            ScenarioProgress::PhaseDone(report) => told.push(format!("{} done", report.phase)),
            _ => {}
        })
        .unwrap();
    assert!(report.passed, "{report:?}");
    let wanted = [
        "first",
        "2 at 0.2",
        "2 at 0.4",
        "first done",
        "second",
        "1 at 0.2",
        "1 at 0.4",
        "second done",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn failed_check_fails_the_scenario_and_names_its_population() {
    let mut packets = 0;
    let every_tenth_is_lost = Box::new(move |packet: &[u8]| {
        packets += 1;
        if packets % 10 == 0 {
            Vec::new()
        } else {
            vec![packet.to_vec()]
        }
    });
    let check = "check = { max_loss_percent = 1, max = { corrupted = 0 }, min = { rekeyed = 1 } }";
    let report = play_against(
        &scenario(&format!("{}{check}", lossy())),
        every_tenth_is_lost,
    );
    assert!(!report.passed);
    let failures = failures(&report.phases[0]);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].0 == "honest" && failures[0].1.contains("packets were lost"));
    assert_eq!(failures[1].1, "tunnels rekeyed: 0; the minimum is 1");
}

#[test]
fn rekey_storm_loses_nothing() {
    let more = "rekey_at = \"100ms\"\ncheck = { min = { rekeyed = 5 }, max = { lost = 0 } }";
    let report = play(&format!("{HONEST}{more}"));
    assert!(report.passed, "{report:?}");
}

#[test]
fn ramp_reports_where_loss_begins() {
    let ramp = HONEST.replace("rate = 500", "rate = { from = 200, to = 600, steps = 2 }");
    let report = play(&format!("{ramp}check = {{ loss_free_rate = 600 }}"));
    assert!(report.passed, "{report:?}");
    assert_eq!(report.phases[0].loads[0].loss_free_pps, Some(600.0));
    let ramp = lossy().replace("rate = 500", "rate = { from = 200, to = 600, steps = 2 }");
    let checked = scenario(&format!("{ramp}check = {{ loss_free_rate = 100 }}"));
    let report = play_against(&checked, Box::new(|_| Vec::new()));
    assert_eq!(report.phases[0].loads[0].loss_free_pps, None);
    assert_eq!(failures(&report.phases[0]).len(), 1);
}

#[test]
fn garbage_of_every_kind_causes_no_loss() {
    let garbage = "
    check = { max = { lost = 0, corrupted = 0 } }
    [[phase.garbage]]
    name = \"noise\"
    kinds = [\"random\", \"truncated\", \"forged-data\", \"forged-initiation\", \"replay\"]
    rate = 250
    sockets = 5
    ";
    let report = play(&format!("{HONEST}{garbage}"));
    assert!(report.passed, "{report:?}");
    let garbage = &report.phases[0].garbage[0];
    assert_eq!((garbage.due, garbage.sent), (100, 100));
}

#[test]
fn answers_to_garbage_are_counted_and_checked() {
    // A gateway that demands cookies also answers unknown clients.
    let garbage = "
    [[phase.garbage]]
    name = \"strangers\"
    kinds = [\"forged-initiation\"]
    rate = 50
    check = { max_answers = 0 }
    ";
    let scenario = scenario(&format!("{HONEST}{garbage}"));
    let answers = |limit_per_ip| {
        let identities = Identities::from_seed(31, scenario.identities_needed());
        let config = snaptun::ShardConfig {
            handshakes_per_ip_per_second: limit_per_ip,
            ..snaptun::ShardConfig::default()
        };
        let gateway = EchoGateway::start_with(identities.public_keys(), no_fault(), config);
        let mut base = LoadConfig::new(gateway.address, gateway.public_key, identities);
        base.cpus = Cpus::Unpinned;
        base.connect_timeout = Duration::from_secs(60);
        base.catch_up = Some(Duration::from_secs(60));
        let report = scenario.run(&base, &mut |_| {}).unwrap();
        (report.phases[0].garbage[0].answers > 0, report.passed)
    };
    assert_eq!(answers(u64::MAX), (false, true));
    assert_eq!(answers(0), (true, false));
}

#[test]
fn population_that_cannot_connect_ends_the_phase() {
    let scenario = scenario(HONEST);
    let identities = Identities::from_seed(31, 5);
    let gateway = EchoGateway::start(Vec::new(), no_fault());
    let mut base = LoadConfig::new(gateway.address, gateway.public_key, identities);
    base.connect_timeout = Duration::from_millis(300);
    let error = scenario.run(&base, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ScenarioError::Population { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("phase \"first\", \"honest\": "),
        "{error}"
    );
}

#[test]
fn scenario_with_too_few_identities_is_refused() {
    let scenario = scenario(HONEST);
    let gateway = "127.0.0.1:9".parse().unwrap();
    let base = LoadConfig::new(gateway, [1; 32], Identities::from_seed(1, 4));
    let error = scenario
        .run(&base, &mut |_| panic!("it began"))
        .unwrap_err();
    assert_eq!(error.to_string(), "the scenario needs 5 identities, got 4");
}

#[test]
fn scenario_files_are_valid() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Scenario::read_file(&path).unwrap();
            count += 1;
        }
    }
    assert!(count >= 7);
}

#[test]
fn interrupted_scenario_reports_results_without_a_verdict() {
    let identities = Identities::from_seed(31, 10);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let garbage = "
    [[phase.garbage]]
    name = \"garbage\"
    kinds = [\"random\"]
    rate = 500
    sockets = 1
    ";
    let long = HONEST.replace("400ms", "1h");
    let scenario = scenario(&format!(
        "{long}{garbage}{}",
        HONEST.replace("first", "second")
    ));
    let mut base = LoadConfig::new(gateway.address, gateway.public_key, identities);
    base.cpus = Cpus::Unpinned;
    base.connect_timeout = Duration::from_secs(60);
    base.catch_up = Some(Duration::from_secs(60));
    base.interval = Duration::from_millis(50);
    let stop = base.stop.clone();
    let report = scenario
        .run(&base, &mut |progress| {
            if matches!(progress, ScenarioProgress::Interval { .. }) {
                stop.set();
            }
        })
        .unwrap();
    assert!(report.interrupted && !report.passed);
    let [phase] = report.phases.as_slice() else {
        panic!("{report:?}");
    };
    assert!(phase.loads[0].report.counts.sent > 0);
    assert!(phase.garbage[0].sent_pps > 0.0);
}

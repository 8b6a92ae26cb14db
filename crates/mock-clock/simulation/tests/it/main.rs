//! A few simulations. `.ci/run` runs a thousand.

use std::time::Duration;

use snaptun_simulation::{Failure, Violation, simulate};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn the_invariants_hold_for_an_hour_of_a_few_seeds() {
    for seed in 0..4 {
        simulate(seed, HOUR, None).expect("every invariant holds");
    }
}

#[test]
fn a_seed_gives_the_same_events_again() {
    for seed in [1, 44] {
        let [first, second] = [(); 2].map(|()| {
            let mut lines = Vec::new();
            let mut watch = |line: &snaptun_simulation::Line| lines.push(line.to_string());
            let outcome =
                simulate(seed, HOUR / 6, Some(&mut watch)).expect("every invariant holds");
            (outcome, lines)
        });
        assert!(first.1.len() > 1_000, "{} lines", first.1.len());
        assert_eq!(first, second);
    }
}

#[test]
fn seeds_differ() {
    let [one, other] = [0, 1].map(|seed| {
        let outcome = simulate(seed, HOUR / 60, None).expect("every invariant holds");
        outcome.digest
    });
    assert_ne!(one, other);
}

#[test]
fn a_failure_shows_the_last_events_and_the_seed() {
    let failure = Failure {
        violation: Violation::DeliveredTwice {
            client: 3,
            packet: 9,
        },
        seed: 17,
        step: 1_234,
        at: Duration::from_millis(56_789),
        last: vec!["last event".to_owned()],
        scenario: "scenario of the seed".to_owned(),
    };
    assert_eq!(
        failure.to_string(),
        "scenario of the seed\n\
         last event\n\
         seed 17 failed at step 1234, after 56.789 s: \
         the gateway delivered packet 9 of client 3 twice"
    );
}

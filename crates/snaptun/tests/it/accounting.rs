//! Accounting over random sequences of messages: nothing is lost or counted twice.

use proptest::prelude::*;

use crate::clock::now;
use testkit::shard::steps::{CLIENTS, Run, Step};

fn step() -> impl Strategy<Value = Step> {
    let client = 0..=CLIENTS;
    let pick = any::<usize>();
    prop_oneof![
        3 => client.clone().prop_map(|client| Step::Initiate { client }),
        6 => (client.clone(), 0..100usize).prop_map(|(client, len)| Step::Send { client, len }),
        20 => pick.prop_map(|pick| Step::Arrive { pick }),
        3 => pick.prop_map(|pick| Step::Duplicate { pick }),
        1 => pick.prop_map(|pick| Step::Lose { pick }),
        2 => (pick, any::<usize>()).prop_map(|(pick, bit)| Step::Damage { pick, bit }),
        2 => (pick, client.clone()).prop_map(|(pick, client)| Step::Elsewhere { pick, client }),
        2 => (pick, any::<usize>(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(pick, at, bytes)| Step::Forge { pick, at, bytes }),
        2 => (client.clone(), prop::collection::vec(any::<u8>(), 0..160))
            .prop_map(|(client, bytes)| Step::Garbage { client, bytes }),
        6 => (client.clone(), 0..100usize).prop_map(|(client, len)| Step::Outgoing { client, len }),
        8 => Just(Step::Deliver),
        1 => client.clone().prop_map(|client| Step::Revoke { client }),
        1 => client.clone().prop_map(|client| Step::Grant { client }),
        1 => client.prop_map(|client| Step::Restart { client }),
        2 => (0..4000u64).prop_map(|millis| Step::Timers { millis }),
        1 => Just(Step::EndSessions),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_has_exactly_one_fate(steps in prop::collection::vec(step(), 1..400)) {
        let mut run = Run::new(now());
        for step in steps {
            run.step(step);
        }
    }
}

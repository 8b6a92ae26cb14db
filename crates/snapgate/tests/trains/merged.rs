//! Attacks with a client's own address do not cost the client anything.

use testkit::messages::Forgery;
use testkit::{IpVersion, may_make_namespaces};
use udp_shards::Dispatch;

use crate::attack::{Attacked, PACKETS, alone};

/// Number of handshakes that the client begins.
const INITIATIONS: usize = 80;

/// Runs `check` over IPv4 and IPv6, with kernel and user dispatch. It returns a description of a failure.
fn in_all_cases(test: &str, check: impl Fn(IpVersion, Dispatch) -> Option<String>) {
    if !may_make_namespaces(test) {
        return;
    }
    let _alone = alone();
    let mut wrong = String::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        for dispatch in [Dispatch::Kernel, Dispatch::User] {
            if let Some(what) = check(version, dispatch) {
                wrong += &format!("{version:?}, {dispatch:?}: {what}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn no_packet_is_lost(test: &str, forgery: Forgery) {
    in_all_cases(test, |version, dispatch| {
        let mut attacked = Attacked::start(forgery, version, dispatch);
        let lost = attacked.lost_packets();
        let metrics = attacked.end();
        (lost > 0).then(|| format!("{lost} of {PACKETS} packets lost\n{metrics}"))
    });
}

fn every_initiation_is_answered(test: &str, forgery: Forgery) {
    in_all_cases(test, |version, dispatch| {
        let mut attacked = Attacked::start(forgery, version, dispatch);
        let answered = attacked.answered_initiations(INITIATIONS);
        let metrics = attacked.end();
        (answered < INITIATIONS)
            .then(|| format!("{answered} of {INITIATIONS} initiations answered\n{metrics}"))
    });
}

#[test]
fn garbage_costs_no_packet() {
    no_packet_is_lost("garbage_costs_no_packet", Forgery::Garbage);
}

#[test]
fn initiations_with_a_wrong_mac1_cost_no_packet() {
    let test = "initiations_with_a_wrong_mac1_cost_no_packet";
    no_packet_is_lost(test, Forgery::WrongMac1);
}

#[test]
fn forged_data_messages_cost_no_packet() {
    no_packet_is_lost("forged_data_messages_cost_no_packet", Forgery::Data);
}

#[test]
fn a_mix_of_forged_messages_costs_no_packet() {
    let test = "a_mix_of_forged_messages_costs_no_packet";
    no_packet_is_lost(test, Forgery::Mixed);
}

#[test]
fn initiations_are_answered_amid_garbage() {
    let test = "initiations_are_answered_amid_garbage";
    every_initiation_is_answered(test, Forgery::Garbage);
}

#[test]
fn initiations_are_answered_amid_those_with_a_wrong_mac1() {
    let test = "initiations_are_answered_amid_those_with_a_wrong_mac1";
    every_initiation_is_answered(test, Forgery::WrongMac1);
}

#[test]
fn initiations_are_answered_amid_forged_data_messages() {
    let test = "initiations_are_answered_amid_forged_data_messages";
    every_initiation_is_answered(test, Forgery::Data);
}

#[test]
fn initiations_are_answered_amid_a_mix_of_forged_messages() {
    let test = "initiations_are_answered_amid_a_mix_of_forged_messages";
    every_initiation_is_answered(test, Forgery::Mixed);
}

//! Topologies beside next hops and local ASes.

use super::*;

#[test]
fn a_next_hop_beside_a_topology_of_another_as_causes_a_warning() {
    let setup = Setup::new();
    let own = "next_hop = { '1-ff00:0:111#1' = '10.0.0.9:31002' }\n";
    let warnings = setup.valid(&format!("{MINIMAL}{own}")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings[0].to_string();
    assert!(
        warning.starts_with("two local ASes: 1-ff00:0:110 of ") && warning.contains("1-ff00:0:111"),
        "{warning}"
    );

    let both = "local_isd_as = ['1-ff00:0:110', '1-ff00:0:111']\n";
    let effective = setup.valid(&format!("{MINIMAL}{both}{own}"));
    assert_eq!(effective.warnings, []);
}

#[test]
fn a_topology_of_an_as_that_is_not_local_is_one_problem_of_the_topology() {
    let problems = Setup::new().problems_of_addition("local_isd_as = ['1-ff00:0:111']\n");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("topo: topology: the topology belongs to 1-ff00:0:110"),
        "{problems:?}"
    );
}

#[test]
fn next_hops_of_the_topology_are_named_beside_configured_ones() {
    let hop = "next_hop = { '1-ff00:0:110#7' = '10.0.0.9:31002' }\n";
    let effective = Setup::new().valid(&format!("{MINIMAL}{hop}"));
    let next_hop = effective
        .settings
        .iter()
        .find(|effective| effective.setting.name == "next_hop")
        .unwrap();
    assert_eq!(next_hop.place.line(), Some(5));
    let note = next_hop.note.as_deref().unwrap();
    assert!(
        note.ends_with("topo: 1-ff00:0:110#1, 1-ff00:0:110#2"),
        "{note}"
    );
}

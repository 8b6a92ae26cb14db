//! Output and exit codes of `snapload script`.

use snapload::scenario::Scenario;
use snapload::{Identities, key_to_base64};
use testkit::scenario::{HONEST, lossy, scenario_file};
use testkit::{EchoGateway, Fault, no_fault};

use crate::command::{snapload, text};

/// Runs a scenario with the program.
fn script(phases: &str, fault: Fault, more: &str) -> std::process::Output {
    let file = scenario_file(phases);
    let tunnels = Scenario::read_file(file.path())
        .unwrap()
        .identities_needed();
    let identities = Identities::from_seed(31, tunnels);
    let gateway = EchoGateway::start(identities.public_keys(), fault);
    let (path, address) = (file.path().display(), gateway.address);
    let public_key = key_to_base64(&gateway.public_key);
    snapload(&format!(
        "script {path} --gateway {address} --public-key {public_key} --key-seed 31 \
         --catch-up 1m {more}"
    ))
}

#[test]
fn verdict_is_in_the_output_and_in_the_exit_code() {
    let phases = format!("{HONEST}check = {{ max_loss_percent = 0 }}");
    let passed = script(&phases, no_fault(), "");
    assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stdout));
    assert!(text(&passed.stdout).starts_with("Scenario    a test\n"));
    assert!(text(&passed.stdout).ends_with("\nPASS  a test\n"));
    let phases = format!("{}check = {{ max_loss_percent = 0 }}", lossy());
    let failed = script(&phases, Box::new(|_| Vec::new()), "");
    assert_eq!(failed.status.code(), Some(3));
    let stdout = text(&failed.stdout);
    assert!(
        stdout.contains("\nFAIL  first, honest: 200 of 200 packets were lost"),
        "{stdout}"
    );
}

#[test]
fn json_ends_with_the_verdict() {
    let phases = format!("{HONEST}check = {{ max_loss_percent = 0 }}");
    let output = script(&phases, no_fault(), "--json");
    let lines: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<_> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["interval", "phase", "verdict"]);
    assert_eq!(lines[1]["loads"][0]["sent"], 200);
    assert_eq!(lines[2]["passed"], true);
}

#[test]
fn invalid_scenario_exits_with_2_and_its_position() {
    let file = scenario_file("[[fase]]\n");
    let output = snapload(&format!("script {}", file.path().display()));
    assert_eq!(output.status.code(), Some(2));
    let wanted = format!(
        "error: {}:2:3: unknown name `fase`; did you mean",
        file.path().display()
    );
    assert!(
        text(&output.stderr).starts_with(&wanted),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn unavailable_cpu_exits_with_2() {
    let output = script(HONEST, no_fault(), "--cpus 9999");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn keys_are_printed_for_a_scenario() {
    let file = scenario_file(HONEST);
    let output = snapload(&format!(
        "keys --script {} --key-seed 1",
        file.path().display()
    ));
    assert_eq!(text(&output.stdout).matches("[[identity]]").count(), 5);
}

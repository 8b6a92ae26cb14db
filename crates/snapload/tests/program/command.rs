//! Output and exit codes of the program.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use snapload::{Identities, key_to_base64};
use testkit::{EchoGateway, Fault, no_fault};

pub(crate) fn gateway(fault: Fault) -> EchoGateway {
    EchoGateway::start(Identities::from_seed(11, 2).public_keys(), fault)
}

pub(crate) fn snapload(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_snapload"))
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

/// Makes a short run with two tunnels and `more` arguments.
pub(crate) fn run(gateway: &EchoGateway, more: &str) -> Output {
    let EchoGateway {
        address,
        public_key,
        ..
    } = gateway;
    let public_key = key_to_base64(public_key);
    snapload(&format!(
        "run --gateway {address} --public-key {public_key} --tunnels 2 --key-seed 11 --cpus none \
         --size 100 --warm-up 0s --duration 300ms {more}"
    ))
}

/// Arguments for runs that send and receive everything even on a slow machine.
pub(crate) const PATIENT: &str = "--catch-up 1m --drain 1m";

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn successful_run_exits_with_0_and_a_summary() {
    let output = run(
        &gateway(no_fault()),
        &format!("--rate 500 --max-loss 0 --interval 100ms {PATIENT}"),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("connected 2 tunnels"), "{stdout}");
    assert!(
        stdout.contains("\nlost                      0  0.0000 %\n"),
        "{stdout}"
    );
}

#[test]
fn json_output_is_one_object_per_line() {
    let output = run(
        &gateway(no_fault()),
        &format!("--rate 500 --json --interval 100ms {PATIENT}"),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["interval", "interval", "interval", "summary"]);
    let summary = &lines[3];
    assert_eq!(
        (&summary["due"], &summary["lost"]),
        (&150.into(), &0.into())
    );
    assert_eq!(summary["latency"]["count"], summary["received"]);
    assert_eq!(summary["failed_checks"], Value::Array(Vec::new()));
    assert_eq!(lines[0]["end_seconds"], 0.1);
}

#[test]
fn failed_check_exits_with_3_and_a_summary() {
    let output = run(
        &gateway(Box::new(|_| Vec::new())),
        "--json --max-loss 1 --max-p99 1s",
    );
    assert_eq!(output.status.code(), Some(3));
    let summary: Value =
        serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(summary["failed_checks"].as_array().unwrap().len(), 2);
    assert!(text(&output.stderr).starts_with("check failed: "));
}

#[test]
fn total_loss_is_explained() {
    let output = run(
        &gateway(Box::new(|_| Vec::new())),
        "--catch-up 1m --drain 300ms",
    );
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    assert!(
        stdout.ends_with("or forwards SCION of --isd-as.\n"),
        "{stdout}"
    );
}

#[test]
fn interrupted_run_exits_with_130_and_a_summary() {
    let gateway = gateway(no_fault());
    let public_key = key_to_base64(&gateway.public_key);
    let mut child = Command::new(env!("CARGO_BIN_EXE_snapload"))
        .args(["run", "--gateway", &gateway.address.to_string()])
        .args(["--public-key", &public_key, "--tunnels", "2"])
        .args(["--key-seed", "11", "--cpus", "none", "--warm-up", "0s"])
        .args(["--duration", "1h", "--interval", "50ms", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let summary = lines.last().unwrap();
    assert_eq!(summary["interrupted"], true);
    assert!(summary["seconds"].as_f64().unwrap() >= 0.05);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).starts_with("interrupted"));
}

#[test]
fn run_ends_when_its_output_is_closed() {
    let gateway = gateway(no_fault());
    let public_key = key_to_base64(&gateway.public_key);
    let target = format!(
        "--gateway {} --public-key {public_key} --tunnels 2 --key-seed 11 --cpus none --warm-up 0s",
        gateway.address
    );
    for command in [
        "run --duration 1h --interval 50ms",
        "run --duration 1h --interval 50ms --json",
        "search --trial 1h --min-rate 500 --max-rate 1k",
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snapload"))
            .args(command.split_whitespace())
            .args(target.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert_eq!(text(&output.stderr), "", "{command}");
    }
}

#[test]
fn interrupted_search_prints_the_rates_found() {
    // Half of the packets are lost: no rate holds for the first target, and all rates do for the second.
    let mut packets = 0;
    let gateway = gateway(Box::new(move |packet| {
        packets += 1;
        if packets % 2 == 0 {
            vec![packet.to_vec()]
        } else {
            Vec::new()
        }
    }));
    let public_key = key_to_base64(&gateway.public_key);
    let mut child = Command::new(env!("CARGO_BIN_EXE_snapload"))
        .args(["search", "--gateway", &gateway.address.to_string()])
        .args([
            "--public-key",
            &public_key,
            "--tunnels",
            "2",
            "--cpus",
            "none",
        ])
        .args(["--key-seed", "11", "--size", "100", "--warm-up", "0s"])
        .args([
            "--trial", "100ms", "--drain", "10ms", "--loss", "1", "--loss", "90",
        ])
        .args(["--min-rate", "100", "--max-rate", "200"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let second_target = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("90 %"));
    assert!(second_target.is_some());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(
        rest.last().unwrap(),
        "at most 1 % loss: the lowest rate does not hold"
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
}

#[test]
fn search_without_a_result_exits_with_3_and_lists_its_trials() {
    let gateway = gateway(Box::new(|_| Vec::new()));
    let public_key = key_to_base64(&gateway.public_key);
    let output = snapload(&format!(
        "search --gateway {} --public-key {public_key} --tunnels 2 --key-seed 11 --cpus none \
         --size 100 --warm-up 0s --trial 50ms --drain 10ms --min-rate 500 --max-rate 1k --json",
        gateway.address,
    ));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("the lowest rate, 500 packets/s, does not hold"));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let trials = lines.iter().filter(|line| line["type"] == "trial").count();
    let found = lines.iter().filter(|line| line["type"] == "found").count();
    let summary = lines.last().unwrap();
    assert_eq!(summary["type"], "search_summary");
    assert_eq!(summary["trials"], trials);
    assert_eq!((found, lines.len()), (2, trials + 3));
}

#[test]
fn missed_rate_exits_with_4() {
    let output = run(&gateway(no_fault()), "--rate 900M --drain 300ms");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("offered rate not reached"));
}

#[test]
fn run_that_cannot_connect_exits_with_1_and_a_remedy() {
    let gateway = EchoGateway::start(Vec::new(), no_fault());
    let output = run(&gateway, "--connect-timeout 300ms");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("check that the gateway authorizes this identity"));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn invalid_arguments_exit_with_2() {
    let gateway = gateway(no_fault());
    for bad in [
        "--size 63",
        "--train 65",
        "--direction up",
        "--direction down",
        "--direction up --router 127.0.0.1:31000 --size 99",
        "--imix --size 100",
        "--keepalive 1500ms",
        "--threads 3",
        "--rate fast",
        "--keys-file /none",
        "--tunnels 18446744073709551615",
        "--router 127.0.0.1:31000",
        "--interface 2",
        "--internal 127.0.0.1:30100",
        "--direction up --router 127.0.0.1:31000 --internal 127.0.0.1:30100",
        "--direction down --internal 127.0.0.1:30100 --interface 2",
        "--window 64",
        "--pre-encrypt-memory 1GiB",
    ] {
        let output = run(&gateway, bad);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert!(text(&output.stderr).starts_with("error: "), "{bad}");
    }
}

#[test]
fn search_with_invalid_ranges_exits_with_2() {
    let key = key_to_base64(&[1; 32]);
    for bad in ["--min-rate 2k --max-rate 1k", "--loss 100", "--precision 0"] {
        let output = snapload(&format!(
            "search --gateway 127.0.0.1:9 --public-key {key} {bad}"
        ));
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }
}

#[test]
fn remote_gateway_requires_a_flag() {
    let key = key_to_base64(&[1; 32]);
    let output = snapload(&format!("run --gateway 192.0.2.1:51820 --public-key {key}"));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--allow-remote"));
}

#[test]
fn help_lists_the_exit_codes() {
    let output = snapload("run --help");
    assert!(text(&output.stdout).contains("4    the offered rate was not reached"));
}

#[test]
fn keys_prints_the_identities_of_a_seed() {
    let output = snapload("keys --tunnels 2 --key-seed 11");
    assert_eq!(output.status.code(), Some(0));
    let printed: Vec<&str> = text(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("public_key = \"")?.strip_suffix('"'))
        .collect();
    let keys: Vec<String> = Identities::from_seed(11, 2)
        .public_keys()
        .iter()
        .map(key_to_base64)
        .collect();
    assert_eq!(printed, keys);
    assert_eq!(text(&output.stdout).matches("[[identity]]").count(), 2);
}

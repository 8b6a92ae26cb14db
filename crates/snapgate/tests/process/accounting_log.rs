//! Processes with an accounting log.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use testkit::{Client, GatewaySetup, identity, wait_until};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::gateway;
use crate::state_dir::file_process;

const FILE: &str = "accounting.ndjson";

fn with_accounting_log() -> GatewaySetup {
    gateway().argument(format!("--accounting-log={FILE}"))
}

/// Returns the complete lines of the file, by identity.
fn lines(setup: &GatewaySetup, file: &str) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(setup.path(file)).unwrap_or_default();
    // The last line may be being written.
    let text = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let objects: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = objects.len();
    let identity = |line: &Value| line["identity"].as_str().unwrap().to_owned();
    let lines: BTreeMap<_, _> = objects
        .into_iter()
        .map(|line| (identity(&line), line))
        .collect();
    assert_eq!(lines.len(), count, "{text}");
    lines
}

fn public_key(key: &StaticSecret) -> String {
    BASE64_STANDARD.encode(PublicKey::from(key))
}

fn wait_for_line(setup: &GatewaySetup, file: &str, key: &StaticSecret) -> Value {
    let key = public_key(key);
    wait_until("a line", || lines(setup, file).remove(&key))
}

fn echo(client: &mut Client, packets: usize) {
    for _ in 0..packets {
        client.send(b"packet");
        assert_eq!(client.receive(), b"packet");
    }
}

#[test]
fn each_open_tunnel_has_a_line_at_the_end_of_the_process() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let setup = with_accounting_log()
            .workers(2)
            .argument("--drain-idle-seconds=1");
        let gateway = setup.start();
        let mode = fs::metadata(setup.path(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let keys = [identity(), identity(), identity()];
        let mut clients = keys.each_ref().map(|key| gateway.connect(key));
        for (packets, client) in (1..).zip(&mut clients) {
            echo(client, packets);
        }
        gateway.signal(signal);
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines = lines(&setup, FILE);
        assert_eq!(lines.len(), 3, "{ended:?}");
        for ((packets, key), client) in (1..).zip(&keys).zip(&clients) {
            let line = &lines[&public_key(key)];
            assert!(line["pssid"].is_null() && line["token"].is_null());
            assert_eq!(line["remote"], client.local_address().to_string());
            for direction in ["incoming", "outgoing"] {
                assert_eq!(line[format!("{direction}_packets")], packets);
                assert_eq!(line[format!("{direction}_bytes")], 6 * packets);
            }
            let time = |name: &str| line[name].as_str().unwrap().parse::<Timestamp>().unwrap();
            assert!(time("start") <= time("end"), "{line}");
        }
    }
}

#[test]
fn a_tunnel_that_ends_has_a_line_and_a_renamed_file_is_followed_by_a_new_one() {
    let (first, second) = (identity(), identity());
    let setup = with_accounting_log().identities(&[&first, &second]);
    let gateway = setup.start();
    // Afterwards the gateway knows that the clients use their tunnels.
    for key in [&first, &second] {
        echo(&mut gateway.connect(key), 1);
    }
    setup.replace_identities(&[&second]);
    wait_for_line(&setup, FILE, &first);
    let metrics = gateway.wait_for_metrics("the line", |metrics| {
        metrics.sum("snapgate_accounting_log_lines_total") == 1
    });
    let queued = [("result", "queued")];
    assert_eq!(
        metrics.sum_where("snapgate_usage_records_total", &queued),
        1
    );

    // As logrotate does.
    fs::rename(setup.path(FILE), setup.path("accounting.1")).unwrap();
    setup.replace_identities(&[]);
    wait_for_line(&setup, FILE, &second);
    assert_eq!(lines(&setup, FILE).len(), 1);
    assert_eq!(lines(&setup, "accounting.1").len(), 1);
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_gateway_whose_accounting_log_cannot_be_written_does_not_start() {
    // No file can be created there, not even by root.
    let ended = gateway()
        .argument("--accounting-log=/proc/accounting.ndjson")
        .spawn()
        .wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = "error: cannot write the accounting log /proc/accounting.ndjson: ";
    assert!(ended.log.contains(error), "{ended:?}");
}

#[test]
fn a_killed_process_that_writes_the_accounting_log_is_replaced() {
    let key = identity();
    let setup = with_accounting_log().identities(&[&key]);
    let mut gateway = setup.start();
    echo(&mut gateway.connect(&key), 1);
    let process = wait_until("its process", || file_process(&gateway, "accounting"));
    kill(process, Signal::SIGKILL).unwrap();
    setup.replace_identities(&[]);
    wait_for_line(&setup, FILE, &key);
    gateway.wait_for_log("accounting log writable again");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

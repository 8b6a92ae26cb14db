//! The log of a running process, as text and as JSON.

use std::io::{BufRead as _, BufReader, PipeWriter, Read as _};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{GatewaySetup, identity};

use crate::gateway;

/// Environment variable: the arguments of `snapgate`, one per line.
const ARGUMENTS: &str = "SNAPGATE_TEST_ARGUMENTS";

fn object(line: &str) -> Value {
    let object: Value = serde_json::from_str(line).unwrap();
    for key in ["timestamp", "level", "message"] {
        assert!(object[key].is_string(), "{key}: {line}");
    }
    object
}

#[test]
fn json_has_one_object_per_event_and_no_secret() {
    let client = identity();
    let setup = gateway()
        .identities(&[&client])
        .argument("--log-format=json")
        .argument("--log=trace")
        .argument("--drain-idle-seconds=1");
    let private_key = std::fs::read_to_string(setup.path("private.key")).unwrap();
    let gateway = setup.start();
    let mut tunnel = gateway.connect(&client);
    tunnel.send(b"there and back");
    assert_eq!(tunnel.receive(), b"there and back");
    gateway.replace_identities(&[]);
    gateway.wait_for_metrics("the identity is removed", |metrics| {
        metrics.sum("snapgate_identities") == 0
    });
    gateway.signal(Signal::SIGTERM);
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.log.contains(private_key.trim()), "{ended:?}");

    let events: Vec<Value> = ended.log.lines().map(object).collect();
    let event = |message: &str| {
        let event = events.iter().find(|event| event["message"] == message);
        event.unwrap_or_else(|| panic!("{message}: {ended:?}"))
    };
    let reloaded = event("identities reloaded");
    assert_eq!(reloaded["removed"], 1, "{reloaded}");
    let draining = event("draining");
    assert_eq!(draining["signal"], "SIGTERM", "{draining}");
    assert_eq!(draining["idle_after"], "1s", "{draining}");
    assert!(event("drained")["level"] == "INFO");
    let summary = object(ended.output.trim());
    assert_eq!(summary["message"], "summary", "{summary}");
    assert!(summary["sent"].as_u64() >= Some(1), "{summary}");
}

#[test]
fn text_has_a_time_a_level_a_message_and_fields() {
    let gateway = gateway().start();
    gateway.signal(Signal::SIGINT);
    let ended = gateway.wait();
    let line = ended.log.lines().find(|line| line.contains("stopping"));
    let (time, event) = line.unwrap().split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{ended:?}");
    assert_eq!(event, " INFO stopping signal=SIGINT", "{ended:?}");
}

/// Returns a command that starts the gateway in another program. A thread of it panics when the writer is dropped.
pub(crate) fn beside_a_thread_that_panics(setup: &GatewaySetup) -> (Command, PipeWriter) {
    let snapgate = setup.command();
    let arguments: Vec<_> = snapgate
        .get_args()
        .map(|argument| argument.to_str().unwrap())
        .collect();
    let (reader, trigger) = std::io::pipe().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "log::a_gateway_beside_a_thread_that_panics"])
        .args(["--ignored", "--nocapture"])
        .current_dir(setup.path("."))
        .env_clear()
        .env(ARGUMENTS, arguments.join("\n"))
        .env("RUST_BACKTRACE", "1")
        .stdin(reader)
        .stdout(Stdio::null());
    (command, trigger)
}

#[test]
fn a_panic_is_one_json_object() {
    let setup = gateway().argument("--log-format=json");
    let (mut command, trigger) = beside_a_thread_that_panics(&setup);
    let (log, stderr) = std::io::pipe().unwrap();
    command.stderr(stderr);
    let _gateway = setup.start_command(command);
    drop(trigger);
    let panic = BufReader::new(log)
        .lines()
        .map(|line| line.unwrap())
        .map(|line| object(&line))
        .find(|event| event["message"] == "thread panicked")
        .unwrap();
    assert_eq!(panic["level"], "ERROR", "{panic}");
    assert_eq!(panic["thread"], "unlucky", "{panic}");
    assert_eq!(panic["reason"], "two\nlines", "{panic}");
    let location = panic["location"].as_str().unwrap();
    assert!(location.contains("log.rs:"), "{panic}");
    assert!(panic["backtrace"].is_string(), "{panic}");
}

#[test]
#[ignore = "started as a process by another test"]
fn a_gateway_beside_a_thread_that_panics() {
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let gateway = thread::spawn(move || {
        let arguments = arguments.lines().map(Into::into);
        snapgate::cli::main(std::iter::once("snapgate".into()).chain(arguments))
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let unlucky = thread::Builder::new().name("unlucky".to_owned());
    let panicked = unlucky.spawn(|| panic!("two\nlines")).unwrap().join();
    assert!(panicked.is_err());
    gateway.join().unwrap();
}

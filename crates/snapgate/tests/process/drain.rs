//! SIGTERM, with a real process and clients that have tunnels.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE};
use crate::http::{get, sum};
use crate::workspace::{Workspace, identity, listen, metrics};

/// A SIGTERM so soon after the first does not end a drain.
const DUPLICATE_TIME: Duration = Duration::from_millis(500);

/// A drain that does not end by itself while the test lasts.
const ECHO: [&str; 3] = [
    "--forward=echo",
    "--drain-idle-seconds=3600",
    "--drain-timeout-seconds=3600",
];

#[test]
fn a_tunnel_is_served_and_a_newcomer_refused_while_the_gateway_drains() {
    let (old, new) = (identity(), identity());
    let workspace = Workspace::new(&[&old, &new]);
    let mut process = workspace.start(&ECHO);
    let metrics = metrics(&process);
    let mut client = workspace.connect(&process, &old);
    client.send(b"before");
    assert_eq!(client.receive(), b"before");
    assert_eq!(get(metrics, "/readyz").1, "ok\n");

    process.signal(Signal::SIGTERM);
    process.wait_for("draining: tunnels that talk: 1; seconds left: 35");

    let (status, reason) = get(metrics, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(reason, "draining\n");
    assert_eq!(get(metrics, "/livez").1, "ok\n");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let newcomer = Client::initiate(new, socket, listen(&process), &workspace.key);
    let deadline = Instant::now() + PATIENCE;
    let refused = |text: &str| {
        text.lines()
            .any(|line| line.contains("reason=\"draining\"") && line.ends_with(" 1"))
    };
    let text = loop {
        client.send(b"still");
        assert_eq!(client.receive(), b"still");
        let (_, text) = get(metrics, "/metrics");
        if refused(&text) {
            break text;
        }
        assert!(Instant::now() < deadline, "{text}");
    };
    assert_eq!(newcomer.discard_received(), 0);
    assert_eq!(sum(&text, "snapgate_draining"), 1);
    assert_eq!(sum(&text, "snapgate_tunnels"), 1);

    process.signal(Signal::SIGINT);
    assert_eq!(process.end().code, Some(0));
}

#[test]
fn the_drain_ends_when_the_tunnel_is_idle() {
    let old = identity();
    let workspace = Workspace::new(&[&old]);
    let process = workspace.start(&[
        "--forward=echo",
        "--drain-idle-seconds=1",
        "--drain-timeout-seconds=3600",
    ]);
    let mut client = workspace.connect(&process, &old);
    client.send(b"the last packet");
    assert_eq!(client.receive(), b"the last packet");
    process.signal(Signal::SIGTERM);
    let ended = process.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.log.contains("drained: no tunnel talks"), "{ended:?}");
    assert!(ended.summary.starts_with("Ran for "), "{ended:?}");
}

#[test]
fn the_drain_ends_when_its_time_is_up() {
    let old = identity();
    let workspace = Workspace::new(&[&old]);
    let mut process = workspace.start(&[
        "--forward=echo",
        "--drain-idle-seconds=3600",
        "--drain-timeout-seconds=1",
    ]);
    let _client = workspace.connect(&process, &old);
    process.signal(Signal::SIGTERM);
    process.wait_for("stopping after 1s: tunnels that still talked: 1");
    assert_eq!(process.end().code, Some(0));
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    let old = identity();
    let workspace = Workspace::new(&[&old]);
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = workspace.start(&ECHO);
        let _client = workspace.connect(&process, &old);
        process.signal(Signal::SIGTERM);
        process.wait_for("draining: tunnels that talk: 1");
        // Earlier, a second SIGTERM is a duplicate of the first.
        thread::sleep(DUPLICATE_TIME);
        process.signal(second);
        process.wait_for(&format!(
            "stopping on {second}: tunnels that still talked: 1"
        ));
        assert_eq!(process.end().code, Some(0));
    }
}

#[test]
fn a_sigterm_that_is_sent_twice_does_not_end_the_drain() {
    let old = identity();
    let workspace = Workspace::new(&[&old]);
    let mut process = workspace.start(&ECHO);
    let mut client = workspace.connect(&process, &old);
    let start = Instant::now();
    while start.elapsed() < DUPLICATE_TIME / 10 {
        process.signal(Signal::SIGTERM);
        // Two that are pending at once are one.
        thread::yield_now();
    }
    process.wait_for("draining: tunnels that talk: 1");
    client.send(b"still");
    assert_eq!(client.receive(), b"still");
    // Its tunnel is the last.
    workspace.list(&[]);
    let ended = process.end();
    assert!(ended.log.contains("drained: no tunnel talks"), "{ended:?}");
    assert!(!ended.log.contains("stopping on"), "{ended:?}");
}

#[test]
fn without_a_drain_timeout_and_on_sigint_tunnels_are_not_waited_for() {
    let old = identity();
    let workspace = Workspace::new(&[&old]);
    for (drain, signal) in [
        ("--drain-timeout-seconds=0", Signal::SIGTERM),
        ("--drain-timeout-seconds=3600", Signal::SIGINT),
    ] {
        let mut process = workspace.start(&["--forward=echo", drain]);
        let _client = workspace.connect(&process, &old);
        process.signal(signal);
        process.wait_for(&format!("stopping on {signal}"));
        let ended = process.end();
        assert_eq!(ended.code, Some(0));
        assert!(!ended.log.contains("draining"), "{ended:?}");
    }
}

#[test]
fn a_revoked_identity_loses_its_tunnel_while_the_gateway_drains() {
    let old = identity();
    let workspace = Workspace::new(&[&old]);
    let mut process = workspace.start(&ECHO);
    let _client = workspace.connect(&process, &old);
    process.signal(Signal::SIGTERM);
    process.wait_for("draining: tunnels that talk: 1");
    workspace.list(&[]);
    process.wait_for("drained: no tunnel talks");
    assert_eq!(process.end().code, Some(0));
}

//! SIGTERM, with a process and clients that have tunnels.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use testkit::{Client, GatewaySetup, identity, wait_until};

use crate::gateway;

/// Time after a SIGTERM in which another one is a duplicate.
const DUPLICATE_TIME: Duration = Duration::from_millis(500);

fn draining(idle_seconds: u32, timeout_seconds: u32) -> GatewaySetup {
    gateway()
        .argument(format!("--drain-idle-seconds={idle_seconds}"))
        .argument(format!("--drain-timeout-seconds={timeout_seconds}"))
}

/// A gateway whose drain does not end by itself during the test.
fn patient() -> GatewaySetup {
    draining(3600, 3600)
}

#[test]
fn a_draining_gateway_serves_existing_tunnels_and_refuses_new_ones() {
    let (old, new) = (identity(), identity());
    let mut gateway = patient().identities(&[&old, &new]).start();
    let mut client = gateway.connect(&old);
    client.send(b"before");
    assert_eq!(client.receive(), b"before");
    assert_eq!(gateway.get("/readyz").1, "ok\n");

    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_log("drain progress active_tunnels=1 remaining=35");

    assert_eq!(gateway.get("/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(gateway.get("/livez").1, "ok\n");
    let bind = "127.0.0.1:0".parse().unwrap();
    let mut newcomer = Client::new(&new, bind, gateway.listen_address(), gateway.public_key());
    newcomer.initiate();
    let metrics = wait_until("the newcomer is refused", || {
        client.send(b"still");
        assert_eq!(client.receive(), b"still");
        let metrics = gateway.metrics();
        let reason = [("reason", "draining")];
        let refused = metrics.sum_where("snapgate_dropped_packets_total", &reason);
        (refused == 1).then_some(metrics)
    });
    assert_eq!(newcomer.discard_received(), 0);
    assert_eq!(metrics.sum("snapgate_draining"), 1);
    assert_eq!(metrics.sum("snapgate_tunnels"), 1);

    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn the_drain_ends_when_the_tunnel_is_idle() {
    let old = identity();
    let gateway = draining(1, 3600).identities(&[&old]).start();
    let mut client = gateway.connect(&old);
    client.send(b"the last packet");
    assert_eq!(client.receive(), b"the last packet");
    gateway.signal(Signal::SIGTERM);
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.log.contains(" INFO drained\n"), "{ended:?}");
    assert!(ended.output.starts_with("Ran for "), "{ended:?}");
}

#[test]
fn the_drain_ends_after_its_timeout() {
    let old = identity();
    let mut gateway = draining(3600, 1).identities(&[&old]).start();
    let _client = gateway.connect(&old);
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_log("drain timed out timeout=1s active_tunnels=1");
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    let old = identity();
    let setup = patient().identities(&[&old]);
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut gateway = setup.start();
        let _client = gateway.connect(&old);
        gateway.signal(Signal::SIGTERM);
        gateway.wait_for_log("drain progress active_tunnels=1");
        // Before that, a second SIGTERM is a duplicate of the first.
        thread::sleep(DUPLICATE_TIME);
        gateway.signal(second);
        gateway.wait_for_log(&format!(
            "drain interrupted signal={second} active_tunnels=1"
        ));
        assert_eq!(gateway.wait().code, Some(0));
    }
}

#[test]
fn duplicates_of_sigterm_do_not_end_the_drain() {
    let old = identity();
    let mut gateway = patient().identities(&[&old]).start();
    let mut client = gateway.connect(&old);
    let start = Instant::now();
    while start.elapsed() < DUPLICATE_TIME / 10 {
        gateway.signal(Signal::SIGTERM);
        // Two pending signals of a kind are one.
        thread::yield_now();
    }
    gateway.wait_for_log("drain progress active_tunnels=1");
    client.send(b"still");
    assert_eq!(client.receive(), b"still");
    // The only tunnel ends.
    gateway.replace_identities(&[]);
    let ended = gateway.wait();
    assert!(ended.log.contains(" INFO drained\n"), "{ended:?}");
    assert!(!ended.log.contains("drain interrupted"), "{ended:?}");
}

#[test]
fn sigint_and_a_zero_timeout_stop_without_a_drain() {
    let old = identity();
    for (drain, signal) in [
        ("--drain-timeout-seconds=0", Signal::SIGTERM),
        ("--drain-timeout-seconds=3600", Signal::SIGINT),
    ] {
        let mut gateway = gateway().argument(drain).identities(&[&old]).start();
        let _client = gateway.connect(&old);
        gateway.signal(signal);
        gateway.wait_for_log(&format!("stopping signal={signal}"));
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0));
        assert!(!ended.log.contains("draining"), "{ended:?}");
    }
}

#[test]
fn a_revoked_identity_loses_its_tunnel_during_a_drain() {
    let old = identity();
    let mut gateway = patient().identities(&[&old]).start();
    let _client = gateway.connect(&old);
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_log("drain progress active_tunnels=1");
    gateway.replace_identities(&[]);
    gateway.wait_for_log(" INFO drained");
    assert_eq!(gateway.wait().code, Some(0));
}

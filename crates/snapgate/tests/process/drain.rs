//! SIGTERM, with a process and clients that have tunnels.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use testkit::{Client, GatewaySetup, PATIENCE, identity, wait_until};

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

/// Runs `snapgate token`, and returns its output.
fn token(setup: &GatewaySetup, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapgate"));
    command
        .arg("token")
        .args(arguments)
        .current_dir(setup.path("."));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Registers an identity of one repeated byte, and returns the answer.
fn register(control_plane: SocketAddr, token: &str, identity: u8) -> String {
    let body = [&[0x0a, 32][..], &[identity; 32]].concat();
    let head = format!(
        "POST /anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity HTTP/1.1\r\nhost: snap\r\nconnection: close\r\n\
         content-type: application/proto\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(control_plane).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(&[head.as_bytes(), &body].concat())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_draining_gateway_registers_no_new_identities_and_renews_others() {
    let old = identity();
    let setup = patient().identities(&[&old]).forward("scion");
    let metrics = setup.metrics_address();
    let [internal, control_plane] =
        [1, 2].map(|offset| SocketAddr::new(metrics.ip(), metrics.port() + offset));
    token(&setup, &["--generate", "keys"]);
    let of = |pssid| token(&setup, &["--key", "keys/private.pem", "--pssid", pssid]);
    let mut gateway = setup
        .clone()
        .argument(format!("--internal={internal}"))
        .argument("--next-hop=1-ff00:0:110#1=127.0.0.1:31002")
        .argument(format!("--control-plane={control_plane}"))
        .argument("--token-key=keys/public.pem")
        .start();
    let _client = gateway.connect(&old);
    let answer = register(control_plane, &of("known"), 9);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_log("drain progress active_tunnels=1");
    let answer = register(control_plane, &of("new"), 8);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let error = r#"{"code":"unavailable","message":"the gateway is shutting down"}"#;
    assert!(answer.ends_with(error), "{answer}");
    let answer = register(control_plane, &of("known"), 9);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let reason = [("reason", "shutting_down")];
    let refused = "snapgate_control_refused_registrations_total";
    assert_eq!(gateway.metrics().sum_where(refused, &reason), 1);

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

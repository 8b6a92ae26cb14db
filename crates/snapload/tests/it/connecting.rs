//! Connecting tunnels, and the reasons for failures.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use snapload::{ConnectFailure, Cpus, Identities, LoadConfig, LoadError, Progress};
use snaptun::ShardConfig;
use testkit::{EchoGateway, no_fault};

fn short_run(gateway: &EchoGateway, identities: Identities) -> LoadConfig {
    let mut config = LoadConfig::new(gateway.address, gateway.public_key, identities);
    config.cpus = Cpus::Unpinned;
    config.warm_up = Duration::ZERO;
    config.duration = Duration::from_millis(50);
    config.drain = Duration::from_secs(60);
    config
}

fn connect_failure(config: &LoadConfig) -> (usize, ConnectFailure) {
    match snapload::run(config, &mut |_| {}) {
        Err(LoadError::Connect {
            connected, reason, ..
        }) => (connected, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_tunnels_connect_from_several_addresses() {
    let identities = Identities::from_seed(3, 150);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    config.threads = 2;
    config.source_ips = Some("127.0.3.0/28".parse().unwrap());
    // The test gateway handles handshakes one by one.
    config.connect_timeout = Duration::from_secs(60);
    let mut connected = None;
    let report = snapload::run(&config, &mut |progress| {
        if let Progress::Connected(connect) = progress {
            connected = Some(connect);
        }
    })
    .unwrap();
    assert_eq!(report.connect.tunnels, 150);
    assert_eq!(connected, Some(report.connect));
}

#[test]
fn cookie_is_answered_at_once() {
    let identities = Identities::from_seed(4, 5);
    let config = ShardConfig {
        handshakes_per_ip_per_second: 0,
        ..ShardConfig::default()
    };
    let gateway = EchoGateway::start_with(identities.public_keys(), no_fault(), config);
    let mut config = short_run(&gateway, identities);
    // Cookies that wait for the timer would be too late.
    config.handshake_retry = Duration::from_secs(100);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.connect.cookies, report.connect.retries), (5, 0));
}

/// Starts a proxy to the gateway that drops datagrams from an address for which `is_lost` returns true, and returns its
/// address. Its thread ends with the test program. The gateway sees the address of the proxy.
fn lossy_way(
    gateway: &EchoGateway,
    mut is_lost: impl FnMut(SocketAddr) -> bool + Send + 'static,
) -> SocketAddr {
    let way = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = way.local_addr().unwrap();
    let gateway = gateway.address;
    let mut client = gateway;
    let mut buffer = [0; 2048];
    std::thread::spawn(move || {
        while let Ok((size, from)) = way.recv_from(&mut buffer) {
            if from == gateway {
                way.send_to(&buffer[..size], client).unwrap();
            } else if !is_lost(from) {
                client = from;
                way.send_to(&buffer[..size], gateway).unwrap();
            }
        }
    });
    address
}

#[test]
fn lost_handshake_message_is_repeated() {
    let identities = Identities::from_seed(5, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    let mut messages = 0;
    config.gateway = lossy_way(&gateway, move |_| {
        messages += 1;
        messages == 1
    });
    config.handshake_retry = Duration::from_millis(20);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert!(report.connect.retries >= 1);
    assert_eq!(report.lost, 0);
}

#[test]
fn port_without_answers_is_replaced() {
    let identities = Identities::from_seed(5, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    let mut first = None;
    config.gateway = lossy_way(&gateway, move |from| *first.get_or_insert(from) == from);
    config.handshake_retry = Duration::from_millis(20);
    assert_eq!(snapload::run(&config, &mut |_| {}).unwrap().lost, 0);
}

#[test]
fn unauthorized_identity_gets_no_answer() {
    let authorized = Identities::from_seed(6, 1).public_keys();
    let gateway = EchoGateway::start(authorized, no_fault());
    let mut config = short_run(&gateway, Identities::from_seed(6, 2));
    // Long enough for the other tunnel to connect.
    config.connect_timeout = Duration::from_secs(5);
    assert_eq!(connect_failure(&config), (1, ConnectFailure::NoAnswer));
}

#[test]
fn wrong_gateway_key_gets_no_answer() {
    let identities = Identities::from_seed(6, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    config.gateway_public_key = [9; 32];
    config.connect_timeout = Duration::from_millis(300);
    assert_eq!(connect_failure(&config), (0, ConnectFailure::NoAnswer));
}

#[test]
fn closed_port_is_distinguished_from_silence() {
    let identities = Identities::from_seed(6, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    // The port stays bound, so that no other socket gets it, and the kernel rejects datagrams that the socket itself
    // did not send.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
    config.gateway = closed.local_addr().unwrap();
    closed.connect(config.gateway).unwrap();
    config.connect_timeout = Duration::from_secs(1);
    assert_eq!(
        connect_failure(&config),
        (0, ConnectFailure::NothingListens)
    );
}

#[test]
fn remote_gateway_is_refused_before_anything_is_sent() {
    let config = LoadConfig::new(
        "192.0.2.1:1".parse().unwrap(),
        [1; 32],
        Identities::from_seed(1, 1),
    );
    let error = snapload::run(&config, &mut |_| panic!("it began")).unwrap_err();
    assert!(error.to_string().contains("--allow-remote"), "{error}");
}

//! Tunnels that connect, and the reasons for which they do not.

use std::net::UdpSocket;
use std::time::Duration;

use snapload::{ConnectFailure, Cpus, Identities, LoadConfig, LoadError, Progress};
use snaptun::ShardConfig;

use crate::echo_gateway::{EchoGateway, no_fault};

fn short_run(gateway: &EchoGateway, identities: Identities) -> LoadConfig {
    let mut config = LoadConfig::new(gateway.address, gateway.public_key, identities);
    config.cpus = Cpus::Unpinned;
    config.warm_up = Duration::ZERO;
    config.duration = Duration::from_millis(50);
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
    // The test gateway answers one handshake after the other.
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
fn cookies_are_answered_at_once() {
    let identities = Identities::from_seed(4, 5);
    let config = ShardConfig {
        handshakes_per_second_per_ip: 0,
        ..ShardConfig::default()
    };
    let gateway = EchoGateway::start_with(identities.public_keys(), no_fault(), config);
    let mut config = short_run(&gateway, identities);
    // Cookies that wait for the timer would be too late.
    config.handshake_retry = Duration::from_secs(100);
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert_eq!((report.connect.cookies, report.connect.retries), (5, 0));
}

#[test]
fn a_lost_handshake_message_is_repeated() {
    let identities = Identities::from_seed(5, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    // A way to the gateway that loses the first datagram and passes on the others.
    let way = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = short_run(&gateway, identities);
    config.gateway = way.local_addr().unwrap();
    config.handshake_retry = Duration::from_millis(20);
    let address = gateway.address;
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (_, client) = way.recv_from(&mut buffer).unwrap();
        // The thread ends with the test program.
        while let Ok((size, from)) = way.recv_from(&mut buffer) {
            let to = if from == address { client } else { address };
            way.send_to(&buffer[..size], to).unwrap();
        }
    });
    let report = snapload::run(&config, &mut |_| {}).unwrap();
    assert!(report.connect.retries >= 1);
    // The gateway sees the address of the way: what it returns reaches the tunnel all the same.
    assert_eq!(report.lost, 0);
}

#[test]
fn an_unauthorized_identity_gets_no_answer() {
    let authorized = Identities::from_seed(6, 1).public_keys();
    let gateway = EchoGateway::start(authorized, no_fault());
    let mut config = short_run(&gateway, Identities::from_seed(6, 2));
    config.connect_timeout = Duration::from_millis(500);
    assert_eq!(connect_failure(&config), (1, ConnectFailure::NoAnswer));
}

#[test]
fn a_wrong_gateway_key_gets_no_answer() {
    let identities = Identities::from_seed(6, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    config.gateway_public_key = [9; 32];
    config.connect_timeout = Duration::from_millis(300);
    assert_eq!(connect_failure(&config), (0, ConnectFailure::NoAnswer));
}

#[test]
fn a_closed_port_is_told_from_silence() {
    let identities = Identities::from_seed(6, 1);
    let gateway = EchoGateway::start(identities.public_keys(), no_fault());
    let mut config = short_run(&gateway, identities);
    // No test binds to this address, so nobody gets the port meanwhile.
    config.gateway = UdpSocket::bind("127.0.0.77:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.connect_timeout = Duration::from_millis(300);
    assert_eq!(
        connect_failure(&config),
        (0, ConnectFailure::NothingListens)
    );
}

#[test]
fn a_gateway_elsewhere_is_refused_before_anything_is_sent() {
    let config = LoadConfig::new(
        "192.0.2.1:1".parse().unwrap(),
        [1; 32],
        Identities::from_seed(1, 1),
    );
    let error = snapload::run(&config, &mut |_| panic!("it began")).unwrap_err();
    assert!(error.to_string().contains("--allow-remote"), "{error}");
}

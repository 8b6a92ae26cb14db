//! Every received datagram has exactly one fate.

use snapgate::config::{CpuPinning, Dispatch, Forward};
use snapgate::gateway::{Gateway, StartError};
use testkit::gateway::{TestGateway, config};
use testkit::own_address;

#[test]
fn counters_balance_in_every_snapshot_under_load() {
    let gateway = TestGateway::start(&config(Forward::Echo));
    let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    for round in 0..200 {
        for client in &mut clients {
            client.send(&[round as u8; 200]);
            client.send_datagram(&[4, 0, 0, 0].repeat(10));
        }
        for worker in gateway.counters() {
            assert!(worker.balance(), "a worker lost count: {worker:#?}");
        }
        for client in &mut clients {
            client.receive();
        }
    }
    let total = gateway.stop();
    assert_eq!(total.sent_outgoing_packets, 8 * 200);
    assert_eq!(total.total_dropped(), 8 * 200);
}

/// A worker may stop before another worker that still hands packets over to it.
#[test]
fn a_gateway_stopped_during_handovers_accounts_for_every_datagram() {
    for _ in 0..50 {
        let mut config = config(Forward::Echo);
        config.dispatch = Dispatch::User;
        let gateway = TestGateway::start(&config);
        let mut clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
        for client in &mut clients {
            (0..16).for_each(|_| client.send(&[7; 200]));
        }
        let total = gateway.stop();
        assert_eq!(total.given_packets, total.taken_packets);
        let fates = total.delivered() + total.sent() + total.total_dropped();
        assert_eq!(total.received(), fates, "{total:#?}");
    }
}

#[test]
fn a_dropped_gateway_frees_its_address() {
    let mut config = config(Forward::Echo);
    config.listen = vec![own_address()];
    let gateway = TestGateway::start(&config);
    assert!(matches!(Gateway::start(&config), Err(StartError::Bind(_))));
    drop(gateway);
    let _next = TestGateway::start(&config);
}

#[test]
fn a_missing_cpu_is_an_error_that_names_it() {
    let mut config = config(Forward::Echo);
    config.cpus = CpuPinning::Pinned(vec![0, 8191]);
    let error = Gateway::start(&config).err().unwrap();
    assert!(error.to_string().contains("CPU 8191"), "{error}");
}

#[test]
fn an_address_of_another_host_is_an_error_with_a_remedy() {
    let mut config = config(Forward::Echo);
    // TEST-NET-1 (RFC 5737).
    config.listen = vec!["192.0.2.1:0".parse().unwrap()];
    let error = Gateway::start(&config).err().unwrap().to_string();
    assert!(error.contains("192.0.2.1:0"), "{error}");
    assert!(error.contains("an interface of this host"), "{error}");
}

//! `--forward echo`: tunnels, dispatch and addresses, without SCION.

use std::net::SocketAddr;

use snapgate::config::{Dispatch, Forward};
use snapgate::drop_reason::{DropReason, QueueLoss};
use testkit::gateway::{TestGateway, config, workers};
use testkit::{Client, identity};

fn echo_through(listen: &str, dispatch: Dispatch) {
    let mut config = config(Forward::Echo);
    config.listen = vec![listen.parse().unwrap()];
    config.dispatch = dispatch;
    let gateway = TestGateway::start(&config);
    let mut clients: Vec<Client> = (0..32).map(|_| gateway.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let packet = vec![index as u8; 100 + 41 * index];
        client.send(&packet);
        assert_eq!(client.receive(), packet);
    }

    let total = gateway.stop();
    assert_eq!(total.tunnels, 32);
    assert_eq!(total.sent_outgoing_packets, 32);
    assert_eq!(total.total_dropped(), 0);
    match dispatch {
        Dispatch::Kernel => assert_eq!(total.handovers, 0),
        // The kernel sends all datagrams of a client to one of two workers, which is the wrong one with probability
        // 1/2. The probability of no handover is 1 in 2^32.
        Dispatch::User => assert!(total.handovers > 0),
    }
}

#[test]
fn packets_come_back_over_ipv4_with_kernel_dispatch() {
    echo_through("127.0.0.1:0", Dispatch::Kernel);
}

#[test]
fn packets_come_back_over_ipv4_with_user_dispatch() {
    echo_through("127.0.0.1:0", Dispatch::User);
}

#[test]
fn packets_come_back_over_ipv6_with_kernel_dispatch() {
    echo_through("[::1]:0", Dispatch::Kernel);
}

#[test]
fn packets_come_back_over_ipv6_with_user_dispatch() {
    echo_through("[::1]:0", Dispatch::User);
}

#[test]
fn each_worker_gets_a_share_of_100_tunnels() {
    let mut config = config(Forward::Echo);
    config.workers = workers(4);
    let gateway = TestGateway::start(&config);
    let _clients: Vec<Client> = (0..100).map(|_| gateway.client()).collect();

    // A response can arrive before its turn is counted.
    gateway.wait_for("100 tunnels", |total| total.tunnels == 100);
    let tunnels: Vec<u64> = gateway
        .counters()
        .iter()
        .map(|worker| worker.tunnels)
        .collect();
    // The probability that a fair hash leaves one of four workers without any of 100 tunnels is 1 in 10^12.
    assert!(tunnels.iter().all(|&share| share > 0), "{tunnels:?}");
}

fn connect(bind: &str, listen: SocketAddr, gateway: &TestGateway) -> Client {
    let bind = bind.parse().unwrap();
    Client::connect(&identity(), bind, listen, gateway.public_key())
}

#[test]
fn a_wildcard_listener_answers_from_the_address_that_the_client_sent_to() {
    for (listen, target, bind) in [
        ("0.0.0.0:0", "127.0.0.2", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ] {
        let mut config = config(Forward::Echo);
        config.listen = vec![listen.parse().unwrap()];
        let gateway = TestGateway::start(&config);
        let target = (
            target.parse::<std::net::IpAddr>().unwrap(),
            gateway.listen_address().port(),
        );

        // The client fails if the response comes from another address.
        let mut client = connect(bind, target.into(), &gateway);
        client.send(b"hello");
        assert_eq!(client.receive(), b"hello");
    }
}

#[test]
fn two_listeners_serve_side_by_side() {
    let mut config = config(Forward::Echo);
    config.listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let gateway = TestGateway::start(&config);
    for (&listen, bind) in gateway
        .gateway()
        .local_addresses()
        .tunnels
        .iter()
        .zip(["127.0.0.1:0", "[::1]:0"])
    {
        let mut client = connect(bind, listen, &gateway);
        client.send(b"hello");
        assert_eq!(client.receive(), b"hello");
    }
}

#[test]
fn packets_come_back_without_offloads() {
    let mut config = config(Forward::Echo);
    (config.sockets.gso, config.sockets.gro) = (false, false);
    let gateway = TestGateway::start(&config);
    let mut client = gateway.client();
    for size in [1, 1400, 9000] {
        client.send(&vec![7; size]);
        assert_eq!(client.receive().len(), size);
    }
}

#[test]
fn the_sink_counts_packets_as_delivered() {
    let gateway = TestGateway::start(&config(Forward::Sink));
    let mut client = gateway.client();
    client.send(b"into the void");
    gateway.wait_for("delivery to the sink", |total| total.delivered_to_sink == 1);
    let total = gateway.stop();
    assert_eq!(total.sent(), 0);
    assert_eq!(
        total.dropped[DropReason::Queue(QueueLoss::Stopped).index()],
        0
    );
}

//! The HTTP server.

use snapgate::config::Forward;
use testkit::gateway::{TestGateway, config};

#[test]
fn a_scrape_balances_and_shows_no_handover() {
    let mut config = config(Forward::Echo);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let gateway = TestGateway::start(&config);
    let mut clients: Vec<_> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(b"there and back");
        client.receive();
    }
    clients[0].send_datagram(&[4, 0, 0, 0].repeat(8));
    gateway.wait_for("the count of everything", |total| {
        (total.sent_outgoing_packets, total.total_dropped()) == (10, 1)
    });

    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_tunnels"), 10);
    assert_eq!(metrics.sum("snapgate_sent_packets_total"), 10);
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 1);
    assert_eq!(metrics.sum("snapgate_handover_packets_total"), 0);
    assert_eq!(metrics.sum("snapgate_handshakes_total"), 10);
    assert_eq!(
        metrics.sum("snapgate_received_packets_total"),
        metrics.sum("snapgate_delivered_packets_total")
            + metrics.sum("snapgate_sent_packets_total")
            + metrics.sum("snapgate_dropped_packets_total")
            + metrics.sum("snapgate_in_flight_packets"),
    );
}

#[test]
fn a_scrape_has_metrics_of_the_state_file_only_with_a_state_directory() {
    let state_dir = tempfile::tempdir().unwrap();
    let mut config = config(Forward::Echo);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let gateway = TestGateway::start(&config);
    let (_, text) = gateway.get("/metrics");
    assert!(!text.contains("snapgate_state_"), "{text}");

    config.state_dir = Some(state_dir.path().to_owned());
    let gateway = TestGateway::start(&config);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_state_records"), 0);
    assert_eq!(metrics.sum("snapgate_state_write_failures_total"), 0);
    for name in ["state_writes_total", "state_last_write_age_seconds"] {
        assert!(metrics.get(&format!("snapgate_{name}")) >= 0.0);
    }
}

#[test]
fn a_running_gateway_is_live_and_ready() {
    let mut config = config(Forward::Echo);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let gateway = TestGateway::start(&config);
    gateway.wait_for("a first turn of every worker", |_| {
        gateway.counters().iter().all(|worker| worker.turns > 0)
    });
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/elsewhere", 404)] {
        assert_eq!(gateway.get(path).0, status, "{path}");
    }
}

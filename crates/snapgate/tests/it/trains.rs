//! Long trains through the gateway.

use snapgate::config::Forward;
use testkit::gateway::{TestGateway, config};

/// The longest train of 1400-byte packets (1432 bytes with SNAPtun) that fits a UDP datagram.
const TRAIN: usize = 44;
const TRAINS: u64 = 10_000;
/// Trains sent before the gateway must have caught up: 8 trains fill half a megabyte.
const WINDOW: u64 = 8;

#[test]
fn trains_of_44_packets_arrive_complete() {
    let gateway = TestGateway::start(&config(Forward::Sink));
    let mut client = gateway.client();
    let packet = [0x5a; 1400];

    for train in 1..=TRAINS {
        let datagrams: Vec<_> = (0..TRAIN)
            .map(|_| client.tunnel().encrypt(&packet))
            .collect();
        client.send_train(&datagrams);
        if train % WINDOW == 0 {
            let due = train * TRAIN as u64;
            gateway.wait_for("delivery of all trains", |total| {
                total.delivered_to_sink == due
            });
        }
    }

    let total = gateway.stop();
    assert_eq!(total.delivered_to_sink, TRAINS * TRAIN as u64);
    assert_eq!(total.total_dropped(), 0);
    assert_eq!(total.kernel_drops_data, 0);
}

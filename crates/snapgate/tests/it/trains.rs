//! Whole trains through the gateway.

use snapgate::config::Forward;
use udp_shards::{Flush, SendQueue, SocketOptions, bind_client_socket};

use crate::gateway::{TestGateway, config, own_address};

/// The longest train of 1400-byte packets (1432 bytes with SNAPtun) that fits a UDP datagram.
const TRAIN: usize = 44;
const TRAINS: u64 = 10_000;
/// Trains sent before the gateway has to have caught up: 8 trains fill half a megabyte.
const WINDOW: u64 = 8;

#[test]
fn trains_of_44_packets_arrive_complete_one_after_another() {
    let gateway = TestGateway::start(&config(Forward::Sink));
    let mut client = gateway.client_at(own_address(8));
    // The tunnel belongs to the client's address, so the trains leave from there.
    let socket = client
        .replace_socket(|local| bind_client_socket(local, &SocketOptions::default()).unwrap());
    let mut queue = SendQueue::with_limits(TRAIN, TRAIN * 1500);
    let packet = [0x5a; 1400];

    for train in 1..=TRAINS {
        for _ in 0..TRAIN {
            assert!(
                queue
                    .push(gateway.listen(), None, client.encapsulate(&packet))
                    .is_ok()
            );
        }
        let flush = queue.flush(&socket, &mut |_, result| assert_eq!(result, Ok(())));
        assert_eq!(flush, Flush::Empty);
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

//! Routers that become unreachable and return, and sockets that cannot send.

use std::net::SocketAddr;

use snapgate::config::Forward;
use snapgate::counters::Counters;
use snapgate::drop_reason::{DropReason, QueueLoss};
use testkit::gateway::{TestGateway, config, scion, workers};
use testkit::packets::{from_remote, to_remote};
use testkit::{Client, Router, in_namespace, shell};
use udp_shards::SendError;

const UNREACHABLE: DropReason = DropReason::Send(SendError::Unreachable);
const SEND_QUEUE_FULL: DropReason = DropReason::Queue(QueueLoss::SendQueueFull);

/// Limits the rate towards this port of loopback, and lets `packets` packets wait there. Waiting packets count towards
/// the send buffer of their socket.
fn slow_down(port: u16, kbit_per_second: u32, packets: u32) {
    shell(&format!(
        "tc qdisc add dev lo root handle 1: htb
         tc class add dev lo parent 1: classid 1:20 htb rate {kbit_per_second}kbit burst 2kb quantum 1514
         tc qdisc add dev lo parent 1:20 handle 20: pfifo limit {packets}
         tc filter add dev lo parent 1: protocol ip u32 match ip dport {port} 0xffff flowid 1:20"
    ));
}

/// Removes the rate limit; waiting packets are sent.
fn speed_up() {
    shell("tc class change dev lo parent 1: classid 1:20 htb rate 10gbit burst 1mb quantum 1514");
}

/// A gateway with one worker, a router behind interface 7 and one behind interface 8.
fn gateway_with(internal: &str, near: SocketAddr, far: SocketAddr) -> TestGateway {
    let mut forward = scion(&[(7, near), (8, far)]);
    forward.internal = internal.parse().unwrap();
    let mut config = config(Forward::Scion(forward));
    config.workers = workers(1);
    config.sockets.send_buffer_bytes = 64 << 10;
    TestGateway::start(&config)
}

/// Sends `packets` packets to the router behind `interface`.
fn send(client: &mut Client, interface: u16, packets: u64) {
    let packet = to_remote(client.address(), interface);
    for _ in 0..packets {
        client.send(&packet);
    }
}

fn handled(total: &Counters) -> u64 {
    total.sent_incoming_packets + total.total_dropped()
}

#[test]
fn a_router_without_a_route_loses_only_its_own_packets_and_can_return() {
    in_namespace(
        "faults::a_router_without_a_route_loses_only_its_own_packets_and_can_return",
        || {
            shell("ip address add 10.8.0.1/32 dev lo && ip address add 10.9.0.1/32 dev lo");
            let bind = |address: &str| Router::bind_to(address.parse().unwrap());
            let (vanishing, other) = (bind("10.9.0.1:0"), bind("10.8.0.1:0"));
            let gateway = gateway_with("10.8.0.1:0", vanishing.address(), other.address());
            let mut client = gateway.client();
            send(&mut client, 7, 1);
            assert_eq!(vanishing.receive(), to_remote(client.address(), 7));

            shell("ip address del 10.9.0.1/32 dev lo");
            for _ in 0..50 {
                send(&mut client, 7, 1);
                send(&mut client, 8, 1);
                assert_eq!(other.receive(), to_remote(client.address(), 8));
            }
            let total = gateway.wait_for("the count of everything", |total| handled(total) == 101);
            assert_eq!(total.dropped[UNREACHABLE.index()], 50);

            shell("ip address add 10.9.0.1/32 dev lo");
            send(&mut client, 7, 1);
            assert_eq!(vanishing.receive(), to_remote(client.address(), 7));
            assert_eq!(gateway.stop().total_dropped(), 50);
        },
    );
}

#[test]
fn packets_wait_while_the_send_buffer_is_full_and_all_arrive() {
    in_namespace(
        "faults::packets_wait_while_the_send_buffer_is_full_and_all_arrive",
        || {
            let (slow, other) = (Router::bind(), Router::bind());
            slow_down(slow.address().port(), 10, 10_000);
            let gateway = gateway_with("127.0.0.1:0", slow.address(), other.address());
            let mut client = gateway.client();
            // More than the 128 KiB that the kernel makes of the send buffer, and less than the router's default
            // receive buffer of 208 KiB: each packet takes 768 bytes.
            let packets = 230;
            for sent in 1..=packets {
                send(&mut client, 7, 1);
                gateway.wait_for("the packet at the gateway", |total| {
                    total.sent_incoming_packets + total.queued_packets == sent
                });
            }
            let waiting = gateway.total().queued_packets;
            assert!(waiting > 0, "the buffer never filled");
            // Tunnels have separate sockets.
            let internal = gateway.internal_address();
            let answer = from_remote(client.address());
            slow.send_to(&answer, internal);
            assert_eq!(client.receive(), answer);

            speed_up();
            for _ in 0..packets {
                assert_eq!(slow.receive(), to_remote(client.address(), 7));
            }
            let total = gateway.stop();
            assert_eq!(
                (total.sent_incoming_packets, total.total_dropped()),
                (packets, 0)
            );
        },
    );
}

#[test]
fn packets_beyond_the_limit_of_the_queue_are_counted_drops() {
    in_namespace(
        "faults::packets_beyond_the_limit_of_the_queue_are_counted_drops",
        || {
            let (slow, other) = (Router::bind(), Router::bind());
            slow_down(slow.address().port(), 200, 100_000);
            let gateway = gateway_with("127.0.0.1:0", slow.address(), other.address());
            let mut client = gateway.client();
            let mut sent = 0;
            let total = loop {
                send(&mut client, 7, 100);
                sent += 100;
                let total = gateway.wait_for("the packets at the gateway", |total| {
                    handled(total) + total.queued_packets == sent
                });
                if total.total_dropped() >= 1_000 {
                    break total;
                }
            };
            assert_eq!(
                total.dropped[SEND_QUEUE_FULL.index()],
                total.total_dropped()
            );
            // The limit is 8,192; some packets have been sent since.
            assert!(total.queued_packets > 8_000, "{total:#?}");

            speed_up();
            let total = gateway.wait_for("an empty queue", |total| total.queued_packets == 0);
            assert_eq!(handled(&total), sent);
            send(&mut client, 8, 1);
            assert_eq!(other.receive(), to_remote(client.address(), 8));
            gateway.stop();
        },
    );
}

/// The kernel reports a full device queue (ENOBUFS) only to sockets that also ask for errors of the network.
#[test]
fn packets_lost_in_a_full_device_queue_count_as_sent() {
    in_namespace(
        "faults::packets_lost_in_a_full_device_queue_count_as_sent",
        || {
            let (slow, other) = (Router::bind(), Router::bind());
            slow_down(slow.address().port(), 10, 2);
            let gateway = gateway_with("127.0.0.1:0", slow.address(), other.address());
            let mut client = gateway.client();
            for _ in 0..100 {
                send(&mut client, 7, 1);
                send(&mut client, 8, 1);
                assert_eq!(other.receive(), to_remote(client.address(), 8));
            }
            speed_up();
            let total = gateway.stop();
            assert_eq!(
                (total.sent_incoming_packets, total.total_dropped()),
                (200, 0)
            );
        },
    );
}

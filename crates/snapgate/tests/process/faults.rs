//! Routers that become unreachable and return, and sockets that cannot send.

use std::net::SocketAddr;

use snapgate::config::{Forward, ScionForward};
use snapgate::counters::Counters;
use snapgate::drop_reason::{DropReason, QueueLoss, RouteError};
use testkit::gateway::{TestGateway, config, scion, workers};
use testkit::packets::{from_remote, to_remote, within_as};
use testkit::{Client, Router, in_namespace, shell};
use udp_shards::SendError;

const UNREACHABLE: DropReason = DropReason::Send(SendError::Unreachable);
const SEND_QUEUE_FULL: DropReason = DropReason::Queue(QueueLoss::SendQueueFull);
const TOO_OLD: DropReason = DropReason::Send(SendError::TooOld);
const UNRESOLVED: DropReason = DropReason::Route(RouteError::Unresolved);

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
    start_gateway(forward)
}

/// A gateway with one worker and a small send buffer.
fn start_gateway(forward: ScionForward) -> TestGateway {
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
fn packets_wait_for_room_in_the_send_buffer_until_they_are_too_old() {
    in_namespace(
        "faults::packets_wait_for_room_in_the_send_buffer_until_they_are_too_old",
        || {
            let (slow, other) = (Router::bind(), Router::bind());
            slow_down(slow.address().port(), 10, 10_000);
            let gateway = gateway_with("127.0.0.1:0", slow.address(), other.address());
            let mut client = gateway.client();
            // The kernel makes 128 KiB of the send buffer, and each packet takes 768 bytes. Less than the router's
            // default receive buffer of 208 KiB.
            let mut packets = 0;
            while packets < 230 {
                send(&mut client, 7, 1);
                packets += 1;
                let total = gateway.wait_for("the packet at the gateway", |total| {
                    handled(total) + total.queued_packets == packets
                });
                if total.queued_packets > 0 {
                    break;
                }
            }
            assert!(packets < 230, "the buffer never filled");
            // Tunnels and other routers have separate sockets.
            let internal = gateway.internal_address();
            let answer = from_remote(client.address());
            slow.send_to(&answer, internal);
            assert_eq!(client.receive(), answer);
            send(&mut client, 8, 1);
            assert_eq!(other.receive(), to_remote(client.address(), 8));

            speed_up();
            let total = gateway.wait_for("an empty queue", |total| total.queued_packets == 0);
            let too_old = total.dropped[TOO_OLD.index()];
            assert_eq!(total.total_dropped(), too_old);
            assert_eq!(total.sent_incoming_packets, packets + 1 - too_old);
            for _ in 0..packets - too_old {
                assert_eq!(slow.receive(), to_remote(client.address(), 7));
            }
            gateway.stop();
        },
    );
}

#[test]
fn packets_beyond_the_limit_of_the_queue_are_counted_drops() {
    in_namespace(
        "faults::packets_beyond_the_limit_of_the_queue_are_counted_drops",
        || {
            let (host, router) = (Router::bind(), Router::bind());
            slow_down(host.address().port(), 200, 100_000);
            let mut forward = scion(&[(8, router.address())]);
            forward.local_prefixes = vec!["127.0.0.0/8".parse().unwrap()];
            let gateway = start_gateway(forward);
            let mut client = gateway.client();
            let mut sent = 0;
            let total = loop {
                // More than the 512 packets that may wait for a host, faster than they become too old.
                for _ in 0..10 {
                    let packet = within_as(client.address(), host.address());
                    let train: Vec<_> = (0..64).map(|_| client.tunnel().encrypt(&packet)).collect();
                    client.send_train(&train);
                }
                sent += 640;
                let total = gateway.wait_for("the packets at the gateway", |total| {
                    handled(total) + total.queued_packets == sent
                });
                if total.dropped[SEND_QUEUE_FULL.index()] > 0 {
                    break total;
                }
            };
            assert!(total.queued_packets <= 512, "{total:#?}");

            speed_up();
            let total = gateway.wait_for("an empty queue", |total| total.queued_packets == 0);
            assert_eq!(handled(&total), sent);
            let reasons = [SEND_QUEUE_FULL, TOO_OLD, UNRESOLVED];
            let named: u64 = reasons
                .map(|reason| total.dropped[reason.index()])
                .iter()
                .sum();
            assert_eq!(total.total_dropped(), named, "{total:#?}");
            send(&mut client, 8, 1);
            assert_eq!(router.receive(), to_remote(client.address(), 8));
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

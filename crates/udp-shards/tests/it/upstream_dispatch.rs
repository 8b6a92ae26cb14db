//! Upstream groups: the kernel picks the socket that userspace computes from the SCION packet.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use udp_shards::{Dispatch, ShardSocket, UpstreamGroup, bind_upstream_group};

use crate::scion::{headers, headers_to_no_ip};
use crate::support::{KEY, client, is_silent, options, receive_datagrams, send, workers};
use testkit::oracle::destination::{SCMP, TCP, UDP, destination_of};

const WORKERS: usize = 5;
const PACKETS_PER_CASE: usize = 50;
const CASES: u32 = 24;

const _: () = assert!(PACKETS_PER_CASE * CASES as usize >= 1000);

/// A group with lanes, and a socket that sends to it.
struct Upstream {
    group: UpstreamGroup,
    lanes: Vec<ShardSocket>,
    sender: ShardSocket,
}

impl Upstream {
    fn bind(local: &str) -> Self {
        let group = bind_upstream_group(
            local.parse().unwrap(),
            workers(WORKERS),
            &KEY,
            Dispatch::Kernel,
            &options(),
        )
        .unwrap();
        let mut lanes: Vec<_> = (0..4).map(|_| group.lanes.bind().unwrap()).collect();
        // The last one takes its place.
        drop(lanes.remove(0));
        Self {
            group,
            lanes,
            sender: client(local),
        }
    }

    /// Sends the packets one by one, and asserts that each socket receives those of its worker, that packets without a
    /// destination arrive at any of them, and that the lanes receive nothing.
    fn assert_agrees(&self, packets: &[Vec<u8>]) {
        let mut expected = vec![Vec::new(); WORKERS];
        let mut expected_anywhere = Vec::new();
        for packet in packets {
            send(&self.sender, self.group.local_addr, None, [packet.clone()]);
            match destination_of(packet) {
                Some(to) => expected[KEY.worker_of(to, workers(WORKERS))].push(packet.clone()),
                None => expected_anywhere.push(packet.clone()),
            }
        }
        let mut arrived = vec![Vec::new(); WORKERS];
        let mut anywhere = Vec::new();
        for arrival in receive_datagrams(&sockets(&self.group), packets.len()) {
            let packet = arrival.received.buffer.to_vec();
            match destination_of(&packet) {
                Some(_) => arrived[arrival.socket].push(packet),
                None => anywhere.push(packet),
            }
        }
        assert_eq!(arrived, expected);
        anywhere.sort();
        expected_anywhere.sort();
        assert_eq!(anywhere, expected_anywhere);
        assert!(self.lanes.iter().all(is_silent), "a lane received packets");
    }
}

fn sockets(group: &UpstreamGroup) -> Vec<&ShardSocket> {
    group.sockets.iter().collect()
}

/// Checks many packets, over IPv4 and IPv6. `readable` tells if they have a destination; `None` if only
/// some do.
fn check(packets: impl Strategy<Value = Vec<u8>> + Clone, readable: Option<bool>) {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let upstream = Upstream::bind(local);
        let mut runner = TestRunner::new(Config::with_cases(CASES));
        runner
            .run(&vec(packets.clone(), PACKETS_PER_CASE), |packets| {
                if let Some(readable) = readable {
                    for packet in &packets {
                        prop_assert_eq!(destination_of(packet).is_some(), readable);
                    }
                }
                upstream.assert_agrees(&packets);
                Ok(())
            })
            .unwrap();
    }
}

/// Generates a source port, a destination port, and trailing bytes.
fn ports() -> impl Strategy<Value = Vec<u8>> + Clone {
    vec(any::<u8>(), 4..40)
}

/// Generates an SCMP message: type, code, checksum, identifier, and trailing bytes.
fn scmp(message_type: impl Strategy<Value = u8> + Clone) -> impl Strategy<Value = Vec<u8>> + Clone {
    (message_type, vec(any::<u8>(), 5..40)).prop_map(|(message_type, mut message)| {
        message.insert(0, message_type);
        message
    })
}

fn packets(
    number: u8,
    payload: impl Strategy<Value = Vec<u8>> + Clone,
) -> impl Strategy<Value = Vec<u8>> + Clone {
    (headers().boxed(), payload).prop_map(move |(header, payload)| header.write(number, &payload))
}

/// Generates SCMP errors: for each type, the number of bytes before the quote that it has.
fn errors(quote: impl Strategy<Value = Vec<u8>> + Clone) -> impl Strategy<Value = Vec<u8>> + Clone {
    let types = prop_oneof![
        Just((1_u8, 8_usize)),
        Just((2, 8)),
        Just((4, 8)),
        Just((5, 20)),
        Just((6, 28)),
    ];
    let message = (types, quote).prop_map(|((error_type, before), quote)| {
        let mut message = vec![0xcd; before];
        message[0] = error_type;
        message.extend(quote);
        message
    });
    packets(SCMP, message)
}

#[test]
fn udp_and_tcp_are_dispatched_by_destination_port() {
    check(packets(UDP, ports()), Some(true));
    check(packets(TCP, ports()), Some(true));
}

#[test]
fn echo_and_traceroute_are_dispatched_by_identifier() {
    check(packets(SCMP, scmp(128..132_u8)), Some(true));
}

#[test]
fn errors_are_dispatched_by_the_quoted_source_port() {
    check(errors(packets(UDP, ports())), Some(true));
    check(errors(packets(TCP, ports())), Some(true));
}

#[test]
fn errors_are_dispatched_by_the_quoted_identifier() {
    check(
        errors(packets(SCMP, scmp(prop_oneof![Just(128_u8), Just(130)]))),
        Some(true),
    );
}

#[test]
fn errors_that_quote_other_packets_go_to_any_worker() {
    let other = prop_oneof![
        packets(99, ports()),
        packets(SCMP, scmp(prop_oneof![0..128_u8, Just(129), 131..=255_u8])),
    ];
    check(errors(other.boxed()), Some(false));
}

#[test]
fn other_protocols_and_messages_go_to_any_worker() {
    let numbers = prop_oneof![0..6_u8, 7..17_u8, 18..200_u8, 203..=255_u8];
    let protocols = (headers(), numbers, ports())
        .prop_map(|(header, number, payload)| header.write(number, &payload));
    let types = prop_oneof![
        Just(0_u8),
        Just(3),
        Just(127),
        Just(132),
        7..128_u8,
        132..=255_u8
    ];
    check(
        prop_oneof![
            protocols.boxed(),
            packets(SCMP, scmp(types.boxed())).boxed()
        ]
        .boxed(),
        Some(false),
    );
}

#[test]
fn packets_to_hosts_without_an_ip_address_go_to_any_worker() {
    let packets =
        (headers_to_no_ip(), ports()).prop_map(|(header, payload)| header.write(UDP, &payload));
    check(packets.boxed(), Some(false));
}

#[test]
fn any_header_length_is_used_if_the_addresses_fit() {
    // The shortest header has 36 bytes with an IPv4 and 48 with an IPv6 destination.
    let wrong = (packets(UDP, ports()), 7..16_u8).prop_map(|(mut packet, words)| {
        packet[5] = words;
        packet
    });
    check(wrong.boxed(), None);
}

/// Generates packets of all kinds above that have a destination.
fn any_readable() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        packets(UDP, ports()),
        packets(SCMP, scmp(128..132_u8)),
        errors(packets(UDP, ports())),
        errors(packets(SCMP, scmp(Just(128_u8)))),
    ]
    .boxed()
}

#[test]
fn truncated_packets_are_dispatched_by_the_rest() {
    let truncated = (any_readable(), any::<prop::sample::Index>()).prop_map(|(mut packet, end)| {
        packet.truncate(end.index(packet.len()));
        packet
    });
    check(truncated.boxed(), None);
}

#[test]
fn damaged_packets_are_dispatched_by_their_damaged_fields() {
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let damaged = (any_readable(), damage).prop_map(|(mut packet, damage)| {
        for (at, value) in damage {
            // Prefers the first bytes, which hold the fields that matter most.
            let at = at.index(packet.len());
            let at = if value & 1 == 0 { at % 12 } else { at };
            packet[at] = value;
        }
        packet
    });
    check(damaged.boxed(), None);
}

#[test]
fn garbage_is_dispatched_as_userspace_reads_it() {
    check(vec(any::<u8>(), 0..120).boxed(), None);
}

#[test]
fn unreadable_packets_are_spread_over_all_workers() {
    let upstream = Upstream::bind("127.0.0.1:0");
    // One of five workers gets none of 200 once in 10^19 runs.
    let packets = vec![vec![0xff; 100]; 200];
    for packet in &packets {
        send(
            &upstream.sender,
            upstream.group.local_addr,
            None,
            [packet.clone()],
        );
    }
    let mut arrived = [0; WORKERS];
    for arrival in receive_datagrams(&sockets(&upstream.group), packets.len()) {
        arrived[arrival.socket] += 1;
    }
    assert!(arrived.iter().all(|&packets| packets > 0), "{arrived:?}");
}

#[test]
fn a_single_worker_receives_everything_whatever_lanes_there_are() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let local: SocketAddr = local.parse().unwrap();
        let group =
            bind_upstream_group(local, workers(1), &KEY, Dispatch::Kernel, &options()).unwrap();
        let mut lanes: Vec<ShardSocket> = Vec::new();
        for round in 0..20_u8 {
            lanes.push(group.lanes.bind().unwrap());
            if round % 3 == 2 {
                lanes.remove(0);
            }
            let sender = client(&SocketAddr::new(local.ip(), 0).to_string());
            let packets = [vec![0; 50], vec![round; 60]];
            send(&sender, group.local_addr, None, packets);
            assert_eq!(receive_datagrams(&sockets(&group), 2).len(), 2);
            assert!(lanes.iter().all(is_silent), "a lane received packets");
        }
    }
}

#[test]
fn the_socket_of_a_single_worker_receives_trains_beside_lanes() {
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let group = bind_upstream_group(local, workers(1), &KEY, Dispatch::Kernel, &options()).unwrap();
    let _lanes = [(); 3].map(|()| group.lanes.bind().unwrap());
    let sender = client("127.0.0.1:0");
    send(&sender, group.local_addr, None, vec![vec![7; 100]; 10]);
    assert_eq!(
        receive_datagrams(&sockets(&group), 10).len(),
        1,
        "one train"
    );
}

#[test]
fn with_user_dispatch_lanes_and_sockets_together_receive_everything() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let local: SocketAddr = local.parse().unwrap();
        let group =
            bind_upstream_group(local, workers(2), &KEY, Dispatch::User, &options()).unwrap();
        let lanes = [(); 3].map(|()| group.lanes.bind().unwrap());
        let senders = [(); 20].map(|()| client(&SocketAddr::new(local.ip(), 0).to_string()));
        for sender in &senders {
            send(sender, group.local_addr, None, [vec![0; 50]]);
        }
        let all: Vec<_> = group.sockets.iter().chain(&lanes).collect();
        assert_eq!(receive_datagrams(&all, senders.len()).len(), senders.len());
    }
}

#[test]
fn datagrams_from_a_lane_have_the_address_of_the_group() {
    for dispatch in [Dispatch::Kernel, Dispatch::User] {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let group = bind_upstream_group(local, workers(2), &KEY, dispatch, &options()).unwrap();
        let lane = group.lanes.bind().unwrap();
        assert_eq!(lane.local_addr(), group.local_addr);
        let router = client("127.0.0.1:0");
        send(&lane, router.local_addr(), None, [vec![1; 50]]);
        let arrived = receive_datagrams(&[&router], 1);
        assert_eq!(arrived[0].received.from, group.local_addr);
    }
}

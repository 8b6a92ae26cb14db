//! Tunnel groups: the kernel picks the socket that userspace computes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use socket2::{Domain, Socket, Type};
use udp_shards::{Dispatch, DispatchKey, ShardSocket, TunnelGroup, bind_tunnel_group};

use crate::support::{
    KEY, client, is_silent, message, number_of, options, receive_datagrams, send, workers,
};

/// Lengths of SNAPtun messages, by type; index 0 is unused.
const MESSAGE_BYTES: [usize; 5] = [0, 148, 112, 64, 32];

fn bind(listen: &str, count: usize, key: &DispatchKey) -> TunnelGroup {
    let listen = listen.parse().unwrap();
    bind_tunnel_group(listen, workers(count), key, Dispatch::Kernel, &options()).unwrap()
}

/// Returns data, handshake and mixed sockets, in binding order.
fn members(group: &TunnelGroup) -> Vec<&ShardSocket> {
    let group = [&group.data, &group.handshake, &group.mixed];
    group.into_iter().flatten().collect()
}

/// Number of small datagrams that fit into a receive buffer of the default limit.
const FLOWS_AT_ONCE: usize = 200;

/// Sends one message per flow, of each type in turn, and asserts which socket receives it.
fn assert_agrees(group: &TunnelGroup, count: usize, key: &DispatchKey, flows: &[UdpSocket]) {
    for flows in flows.chunks(FLOWS_AT_ONCE) {
        for (number, flow) in flows.iter().enumerate() {
            let message_type = 1 + number % 4;
            let message = message(
                message_type as u8,
                MESSAGE_BYTES[message_type],
                number as u32,
            );
            flow.send_to(&message, group.local_addr).unwrap();
        }
        for arrival in receive_datagrams(&members(group), flows.len()) {
            let received = arrival.received;
            let number = number_of(&received.buffer) as usize;
            assert_eq!(received.from, flows[number].local_addr().unwrap());
            let owner = key.worker_of(received.from, workers(count));
            let expected = if 1 + number % 4 == 4 {
                owner
            } else {
                count + owner
            };
            assert_eq!(
                arrival.socket, expected,
                "flow {number} from {}",
                received.from
            );
        }
    }
    assert_eq!(group.garbage.as_ref().unwrap().drops(), 0);
}

/// Binds a flow to one of many source addresses: loopback accepts all of 127.0.0.0/8.
fn ipv4_flow(number: u32) -> UdpSocket {
    let ip = Ipv4Addr::from_bits(0x7f00_0001 + number.wrapping_mul(0x9e37_79b9) % 0x00ff_fff0);
    UdpSocket::bind((ip, 0)).unwrap()
}

/// Binds a flow to one of many source addresses: IPV6_FREEBIND allows addresses that no interface has.
fn ipv6_flow(number: u32) -> UdpSocket {
    let bits = 0x2001_0db8_u128 << 96
        | u128::from(number.wrapping_mul(0x9e37_79b9)) << 32
        | u128::from(number.wrapping_mul(0x85eb_ca6b));
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
    socket.set_freebind_v6(true).unwrap();
    let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), 0);
    socket.bind(&address.into()).unwrap();
    socket.into()
}

/// Sets options for the IP header of each datagram.
#[expect(
    unsafe_code,
    reason = "neither the standard library nor socket2 sets these options"
)]
fn set_header_options(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    options: &[u8],
) -> io::Result<()> {
    // SAFETY: the slice is readable for the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            options.as_ptr().cast(),
            options.len() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets `words` words of no-operation IP options (RFC 791, section 3.1).
fn set_ip_options(socket: &UdpSocket, words: usize) {
    let no_operations = [1; 40];
    let options = &no_operations[..4 * words];
    set_header_options(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, options).unwrap();
}

/// Returns an IPv6 options header of `8 * (1 + more)` bytes with one experimental option that
/// receivers skip (RFC 4727, section 4.2). The kernel fills in the first byte, the next header.
fn ipv6_options(more: u8) -> Vec<u8> {
    const SKIPPED: u8 = 0x1e;
    let mut header = vec![0; 8 * (1 + usize::from(more))];
    let option_bytes = header.len() as u8 - 4;
    header[1..4].copy_from_slice(&[more, SKIPPED, option_bytes]);
    header
}

#[test]
fn ipv4_flows_arrive_at_the_worker_that_owns_them() {
    let flows: Vec<UdpSocket> = (0..1500).map(ipv4_flow).collect();
    for count in [1, 2, 5, 16] {
        assert_agrees(&bind("127.0.0.1:0", count, &KEY), count, &KEY, &flows);
    }
}

#[test]
fn ipv4_flows_with_ip_options_arrive_at_the_worker_that_owns_them() {
    let flows: Vec<UdpSocket> = (0..1200).map(ipv4_flow).collect();
    for (number, flow) in flows.iter().enumerate() {
        set_ip_options(flow, number % 11);
    }
    assert_agrees(&bind("127.0.0.1:0", 6, &KEY), 6, &KEY, &flows);
}

#[test]
fn ipv6_flows_arrive_at_the_worker_that_owns_them() {
    let flows: Vec<UdpSocket> = (0..1500).map(ipv6_flow).collect();
    for count in [1, 2, 5, 16] {
        assert_agrees(&bind("[::1]:0", count, &KEY), count, &KEY, &flows);
    }
}

/// Needs CAP_NET_RAW.
#[test]
fn ipv6_flows_with_extension_headers_arrive_at_the_worker_that_owns_them() {
    const KINDS: [libc::c_int; 2] = [libc::IPV6_HOPOPTS, libc::IPV6_DSTOPTS];
    let flows: Vec<UdpSocket> = (0..400).map(ipv6_flow).collect();
    for (number, flow) in flows.iter().enumerate() {
        for (kind, name) in KINDS.into_iter().enumerate() {
            if (number >> kind) & 1 == 0 {
                continue;
            }
            let options = ipv6_options((number / 4 % 4) as u8);
            match set_header_options(flow, libc::IPPROTO_IPV6, name, &options) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    assert!(
                        std::env::var_os("CI").is_none(),
                        "test skipped in CI: extension headers need CAP_NET_RAW"
                    );
                    eprintln!("skipped: extension headers need CAP_NET_RAW");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_agrees(&bind("[::1]:0", 6, &KEY), 6, &KEY, &flows);
}

#[test]
fn kernel_and_userspace_agree_for_any_key_and_any_number_of_workers() {
    let ipv4: Vec<UdpSocket> = (0..40).map(ipv4_flow).collect();
    let ipv6: Vec<UdpSocket> = (0..40).map(ipv6_flow).collect();
    let mut runner = TestRunner::new(Config::with_cases(40));
    runner
        .run(&(any::<[u32; 2]>(), 1..40_usize), |(words, count)| {
            let key = DispatchKey::from_words(words);
            assert_agrees(&bind("127.0.0.1:0", count, &key), count, &key, &ipv4);
            assert_agrees(&bind("[::1]:0", count, &key), count, &key, &ipv6);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_wildcard_group_dispatches_by_the_source_alone() {
    let group = bind("0.0.0.0:0", 4, &KEY);
    let flow = client("127.0.0.9:0");
    let owner = KEY.worker_of(flow.local_addr(), workers(4));
    for local in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let to = SocketAddr::new(local.parse().unwrap(), group.local_addr.port());
        send(&flow, to, None, [message(4, 32, 0)]);
        let arrivals = receive_datagrams(&members(&group), 1);
        assert_eq!(arrivals[0].socket, owner);
        assert_eq!(arrivals[0].received.local_ip, Some(to.ip()));
    }
}

/// Kinds of socket: 0 data, 1 handshake, 2 mixed. A train that begins with an attacker's garbage may
/// hold messages of a client.
#[test]
fn a_train_arrives_whole_for_every_type_of_its_first_message() {
    let count = 3;
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let group = bind(listen, count, &KEY);
        let flow = client(listen);
        let owner = KEY.worker_of(flow.local_addr(), workers(count));
        for (types, bytes, kind) in [
            (&[4, 4, 4][..], 112, 0),
            (&[4, 2, 4], 112, 0),
            (&[4, 0, 255, 4], 112, 0),
            (&[2, 4, 4], 112, 2),
            (&[2, 2], 112, 2),
            (&[1, 4, 1], 148, 2),
            (&[3, 4, 3], 64, 2),
            (&[0, 4, 4], 112, 2),
            (&[255, 4, 1, 4], 148, 2),
            // The shortest message has 32 bytes; two make the shortest train of messages.
            (&[0, 4], 32, 2),
            (&[1, 4], 32, 2),
            (&[4, 0], 32, 0),
        ] {
            let train = (0..).zip(types).map(|(n, kind)| message(*kind, bytes, n));
            send(&flow, group.local_addr, None, train);
            let arrivals = receive_datagrams(&members(&group), types.len());
            assert_eq!(arrivals.len(), 1, "{types:?} is one train");
            assert_eq!(arrivals[0].socket, kind * count + owner, "{types:?}");
            let arrived: Vec<u8> = arrivals
                .into_iter()
                .flat_map(|arrival| arrival.received.into_datagrams())
                .map(|datagram| datagram[0])
                .collect();
            assert_eq!(arrived, types);
        }
        assert_eq!(group.garbage.as_ref().unwrap().drops(), 0);
    }
}

/// Datagrams that cannot hold a SNAPtun message, even as a train.
fn garbage() -> Vec<Vec<u8>> {
    let mut garbage = vec![vec![], vec![4], vec![4, 0, 0], message(4, 31, 0)];
    for wrong_type in [0, 1, 2, 3, 5, 0x14, 0x40, 0x84, 0xff] {
        garbage.push(message(wrong_type, 63, 0));
    }
    for reserved in 1..4 {
        let mut wrong = message(4, 63, 0);
        wrong[reserved] = 1;
        garbage.push(wrong);
    }
    garbage
}

/// Datagrams that are not a SNAPtun message, but long enough for a train that holds one.
fn long_garbage() -> Vec<Vec<u8>> {
    let mut garbage = Vec::new();
    for (message_type, bytes) in MESSAGE_BYTES.into_iter().enumerate().take(4).skip(1) {
        garbage.push(message(message_type as u8, (bytes - 1).max(65), 0));
        garbage.push(message(message_type as u8, bytes + 1, 0));
        for reserved in 1..4 {
            let mut wrong = message(message_type as u8, bytes, 0);
            wrong[reserved] = 1;
            garbage.push(wrong);
        }
    }
    for wrong_type in [0, 5, 0x14, 0x40, 0x84, 0xff] {
        garbage.push(message(wrong_type, 1000, 0));
    }
    garbage
}

#[test]
fn garbage_long_enough_for_a_train_arrives_on_the_mixed_socket() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let count = 2;
        let group = bind(listen, count, &KEY);
        let flow = client(listen);
        let owner = KEY.worker_of(flow.local_addr(), workers(count));
        for datagram in long_garbage() {
            send(&flow, group.local_addr, None, [datagram]);
            let arrivals = receive_datagrams(&members(&group), 1);
            assert_eq!(arrivals[0].socket, 2 * count + owner);
        }
        assert_eq!(group.garbage.as_ref().unwrap().drops(), 0);
    }
}

#[test]
fn short_garbage_is_dropped_and_counted() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let group = bind(listen, 2, &KEY);
        let flow = client(listen);
        let garbage = garbage();
        let count = garbage.len();
        for datagram in garbage {
            send(&flow, group.local_addr, None, [datagram]);
        }
        // Loopback delivers within the send call, so this message arrives last.
        send(&flow, group.local_addr, None, [message(4, 32, 7)]);
        let arrivals = receive_datagrams(&members(&group), 1);
        assert_eq!(number_of(&arrivals[0].received.buffer), 7);
        for socket in members(&group) {
            assert!(is_silent(socket));
            assert_eq!(socket.kernel_drops(), 0);
        }
        assert_eq!(group.garbage.as_ref().unwrap().drops(), count as u64);
    }
}

#[test]
fn without_a_program_each_socket_drops_its_garbage() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let group = bind_tunnel_group(listen, workers(2), &KEY, Dispatch::User, &options()).unwrap();
    assert!(group.handshake.is_empty() && group.mixed.is_empty() && group.garbage.is_none());
    let flow = client("127.0.0.1:0");
    let garbage = garbage();
    let count = garbage.len();
    for datagram in garbage {
        send(&flow, group.local_addr, None, [datagram]);
    }
    for (message_type, bytes) in MESSAGE_BYTES.into_iter().enumerate().skip(1) {
        send(
            &flow,
            group.local_addr,
            None,
            [message(message_type as u8, bytes, 7)],
        );
    }
    let arrivals = receive_datagrams(&members(&group), 4);
    assert!(
        arrivals
            .iter()
            .all(|arrival| number_of(&arrival.received.buffer) == 7)
    );
    let drops: u64 = group.data.iter().map(ShardSocket::kernel_drops).sum();
    assert_eq!(drops, count as u64);
}

#[test]
fn without_a_program_the_kernel_spreads_flows() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let group = bind_tunnel_group(listen, workers(3), &KEY, Dispatch::User, &options()).unwrap();
    let flows: Vec<UdpSocket> = (0..FLOWS_AT_ONCE as u32).map(ipv4_flow).collect();
    for flow in &flows {
        flow.send_to(&message(4, 32, 0), group.local_addr).unwrap();
    }
    let mut counts = HashMap::new();
    for arrival in receive_datagrams(&members(&group), flows.len()) {
        *counts.entry(arrival.socket).or_insert(0) += 1;
    }
    assert_eq!(
        counts.len(),
        3,
        "every worker received something: {counts:?}"
    );
}

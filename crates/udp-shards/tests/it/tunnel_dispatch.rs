//! The kernel's choice among the sockets of a tunnel group is the one that userspace computes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

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

/// Data sockets first, then handshake sockets: in the order of binding.
fn members(group: &TunnelGroup) -> Vec<&ShardSocket> {
    group.data.iter().chain(&group.handshake).collect()
}

/// As many small datagrams as fit into a receive buffer of the size that everybody gets.
const FLOWS_AT_ONCE: usize = 200;

/// Sends one message per flow, of each type in turn, and checks where each arrives.
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

/// Loopback takes any source address of 127.0.0.0/8.
fn ipv4_flow(number: u32) -> UdpSocket {
    let ip = Ipv4Addr::from_bits(0x7f00_0001 + number.wrapping_mul(0x9e37_79b9) % 0x00ff_fff0);
    UdpSocket::bind((ip, 0)).unwrap()
}

/// IPV6_FREEBIND allows a source address that no interface has.
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

/// `words` IP option words of no operation (RFC 791, section 3.1).
#[expect(
    unsafe_code,
    reason = "neither the standard library nor socket2 sets IP_OPTIONS"
)]
fn set_ip_options(socket: &UdpSocket, words: usize) {
    use std::os::fd::AsRawFd;
    let no_operations = [1_u8; 40];
    // SAFETY: the option takes up to 40 readable bytes.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            no_operations.as_ptr().cast(),
            (4 * words) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
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

#[test]
fn a_train_arrives_complete_where_its_first_message_belongs() {
    let count = 3;
    let group = bind("127.0.0.1:0", count, &KEY);
    let flow = client("127.0.0.1:0");
    let owner = KEY.worker_of(flow.local_addr(), workers(count));

    // A response is as long as these data messages, so they make one train.
    let response = message(2, 112, 0);
    let data = |number| message(4, 112, number);
    send(
        &flow,
        group.local_addr,
        None,
        [response.clone(), data(1), data(2)],
    );
    let arrivals = receive_datagrams(&members(&group), 3);
    assert_eq!(arrivals.len(), 1, "one train");
    assert_eq!(arrivals[0].socket, count + owner);

    send(&flow, group.local_addr, None, [data(0), response, data(2)]);
    let arrivals = receive_datagrams(&members(&group), 3);
    assert_eq!(arrivals.len(), 1, "one train");
    assert_eq!(arrivals[0].socket, owner);
    let types: Vec<u8> = arrivals
        .into_iter()
        .flat_map(|arrival| {
            arrival
                .received
                .into_datagrams()
                .map(|datagram| datagram[0])
        })
        .collect();
    assert_eq!(types, [4, 2, 4]);
}

/// What is no SNAPtun message.
fn garbage() -> Vec<Vec<u8>> {
    let mut garbage = vec![vec![], vec![4], vec![4, 0, 0], message(4, 31, 0)];
    for (message_type, bytes) in MESSAGE_BYTES.into_iter().enumerate().skip(1) {
        garbage.push(message(message_type as u8, bytes - 1, 0));
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
fn garbage_is_dropped_and_counted_apart() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let group = bind(listen, 2, &KEY);
        let flow = client(listen);
        let garbage = garbage();
        let count = garbage.len();
        for datagram in garbage {
            send(&flow, group.local_addr, None, [datagram]);
        }
        // Loopback delivers within the send call, so this one is the last to arrive.
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
fn without_programs_each_socket_drops_its_garbage() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let group = bind_tunnel_group(listen, workers(2), &KEY, Dispatch::User, &options()).unwrap();
    assert!(group.handshake.is_empty() && group.garbage.is_none());
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
fn the_kernel_spreads_flows_when_no_program_does() {
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

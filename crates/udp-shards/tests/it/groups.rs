//! Binding: granted options, and refused addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{Domain, SockRef, Socket, Type};
use udp_shards::{
    BindError, Dispatch, MAX_WORKERS, ReceiveBatch, SendQueue, SocketOptions, TunnelGroup,
    bind_client_socket, bind_tunnel_group, bind_upstream_group,
};

use crate::support::{KEY, client, message, options, receive_datagrams, send, workers};

fn bind(listen: SocketAddr, dispatch: Dispatch) -> Result<TunnelGroup, BindError> {
    bind_tunnel_group(listen, workers(2), &KEY, dispatch, &options())
}

fn assert_in_use(listen: SocketAddr) {
    for dispatch in [Dispatch::Kernel, Dispatch::User] {
        match bind(listen, dispatch) {
            Err(BindError::AddressInUse { address }) => assert_eq!(address, listen),
            other => panic!("expected that {listen} is in use, got {other:?}"),
        }
        let upstream = bind_upstream_group(listen, workers(2), &KEY, dispatch, &options());
        assert!(matches!(upstream, Err(BindError::AddressInUse { .. })));
    }
    let client = bind_client_socket(listen, &options());
    assert!(matches!(client, Err(BindError::AddressInUse { .. })));
}

#[test]
fn all_sockets_share_one_address_and_port_0_picks_a_free_port() {
    for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        let listen: SocketAddr = listen.parse().unwrap();
        let group = bind(listen, Dispatch::Kernel).unwrap();
        assert_ne!(group.local_addr.port(), 0);
        assert_eq!(group.local_addr.ip(), listen.ip());
        assert_eq!((group.data.len(), group.handshake.len()), (2, 2));
        for socket in group.data.iter().chain(&group.handshake) {
            assert_eq!(socket.local_addr(), group.local_addr);
            assert_eq!(socket.is_wildcard(), listen.ip().is_unspecified());
            let real = SockRef::from(socket).local_addr().unwrap();
            assert_eq!(real.as_socket(), Some(group.local_addr));
        }
    }
}

#[test]
fn an_address_that_another_socket_holds_is_refused() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_in_use(holder.local_addr().unwrap());
}

#[test]
fn a_port_that_a_wildcard_socket_holds_is_refused() {
    let holder = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    assert_in_use(SocketAddr::new([127, 0, 0, 1].into(), port));
}

#[test]
fn an_address_that_other_sockets_share_is_refused() {
    // Joining would split the traffic with the other process.
    let holder = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    holder.set_reuse_address(true).unwrap();
    holder
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    assert_in_use(holder.local_addr().unwrap().as_socket().unwrap());

    let group = bind("127.0.0.1:0".parse().unwrap(), Dispatch::Kernel).unwrap();
    assert_in_use(group.local_addr);
}

/// Without a program that selects the socket, the kernel would give the other one a share of the datagrams.
#[test]
fn a_listen_address_with_a_single_socket_cannot_be_joined() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let group = bind_tunnel_group(listen, workers(1), &KEY, Dispatch::User, &options()).unwrap();
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    let refused = other.bind(&group.local_addr.into());
    let refused = refused.map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::AddrInUse));
}

#[test]
fn dropping_a_group_frees_its_address() {
    // No other test binds to this IP address, and port 0 never picks this port (ip_local_port_range).
    let address = "127.0.0.88:31000".parse().unwrap();
    let group = bind(address, Dispatch::Kernel).unwrap();
    drop(group);
    assert_eq!(bind(address, Dispatch::User).unwrap().local_addr, address);
}

#[test]
fn the_error_for_a_foreign_address_names_the_step() {
    // An address for documentation (RFC 5737), which no interface has.
    let foreign = "192.0.2.1:0".parse().unwrap();
    match bind(foreign, Dispatch::Kernel) {
        Err(error @ BindError::Refused { .. }) => {
            let text = error.to_string();
            assert!(
                text.starts_with("cannot bind a socket for 192.0.2.1:0: "),
                "{text}"
            );
            let BindError::Refused { source, .. } = error else {
                return;
            };
            assert_eq!(source.kind(), ErrorKind::AddrNotAvailable);
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn too_many_workers_are_refused() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let count = workers(MAX_WORKERS + 1);
    let tunnels = bind_tunnel_group(listen, count, &KEY, Dispatch::Kernel, &options());
    assert!(matches!(
        tunnels,
        Err(BindError::TooManyWorkers { workers: 1025 })
    ));
    let upstream = bind_upstream_group(listen, count, &KEY, Dispatch::User, &options());
    assert!(matches!(
        upstream,
        Err(BindError::TooManyWorkers { workers: 1025 })
    ));
}

#[test]
fn ipv4_and_ipv6_sockets_share_a_port() {
    // A port that is free for IPv6 can be taken for IPv4 by a socket of another test.
    let mut tried = Vec::new();
    let (v6, v4) = loop {
        let v6 = bind("[::]:0".parse().unwrap(), Dispatch::Kernel).unwrap();
        let v4 = SocketAddr::new([0, 0, 0, 0].into(), v6.local_addr.port());
        match bind(v4, Dispatch::Kernel) {
            Ok(v4) => break (v6, v4),
            Err(error) => assert!(tried.len() < 100, "{error}"),
        }
        tried.push(v6);
    };

    for (group, local) in [(&v4, "127.0.0.1:0"), (&v6, "[::1]:0")] {
        let flow = client(local);
        let to = SocketAddr::new(flow.local_addr().ip(), group.local_addr.port());
        send(&flow, to, None, [message(4, 32, 0)]);
        let sockets: Vec<_> = group.data.iter().collect();
        let arrivals = receive_datagrams(&sockets, 1);
        assert_eq!(arrivals[0].received.from, flow.local_addr());
    }
}

#[test]
fn buffers_are_reported_as_granted() {
    let wanted = SocketOptions {
        receive_buffer_bytes: 100_000,
        send_buffer_bytes: 80_000,
        ..SocketOptions::default()
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let group = bind_tunnel_group(listen, workers(1), &KEY, Dispatch::Kernel, &wanted).unwrap();
    let report = group.buffers;
    assert_eq!(
        (report.receive.wanted_bytes, report.send.wanted_bytes),
        (100_000, 80_000)
    );
    for (size, wanted) in [(report.receive, 100_000), (report.send, 80_000)] {
        // The default limit of Linux is 212,992 bytes.
        assert_eq!(size.got_bytes, wanted);
        assert!(!size.is_short());
    }
    for socket in group.data.iter().chain(&group.handshake) {
        let socket = SockRef::from(socket);
        assert_eq!(socket.recv_buffer_size().unwrap() / 2, 100_000);
        assert_eq!(socket.send_buffer_size().unwrap() / 2, 80_000);
    }
}

#[test]
fn sockets_do_not_block_and_are_closed_on_exec() {
    let group = bind("127.0.0.1:0".parse().unwrap(), Dispatch::Kernel).unwrap();
    for socket in group.data.iter().chain(&group.handshake) {
        assert!(SockRef::from(socket).nonblocking().unwrap());
        let path = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
        let info = std::fs::read_to_string(path).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0);
    }
}

#[test]
fn ipv6_sockets_do_not_accept_ipv4() {
    let group = bind("[::]:0".parse().unwrap(), Dispatch::Kernel).unwrap();
    for socket in &group.data {
        assert!(SockRef::from(socket).only_v6().unwrap());
    }
    assert_eq!(group.local_addr.ip(), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
}

#[test]
fn sockets_and_queues_can_move_to_a_workers_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<TunnelGroup>();
    assert_send::<ReceiveBatch>();
    assert_send::<SendQueue<Vec<u8>>>();
}

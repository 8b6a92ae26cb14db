//! Sending.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::SockRef;
use udp_shards::{
    Dispatch, SendError, SendQueue, ShardSocket, SocketOptions, bind_client_socket,
    bind_tunnel_group,
};

use crate::support::{
    KEY, client, flush, is_silent, message, number_of, options, receive_datagrams, send, workers,
};

#[test]
fn interleaved_destinations_arrive_as_trains_in_order() {
    let sender = client("127.0.0.1:0");
    let peers: Vec<ShardSocket> = (0..20).map(|_| client("127.0.0.1:0")).collect();
    let mut queue = SendQueue::with_limits(10_000, 10_000_000);
    for number in 0..30 {
        for peer in &peers {
            queue
                .push(peer.local_addr(), None, message(4, 700, number))
                .unwrap();
        }
    }
    let outcomes = flush(&mut queue, &sender);
    assert_eq!(outcomes.len(), 600);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
    for peer in &peers {
        let arrivals = receive_datagrams(&[peer], 30);
        assert_eq!(arrivals.len(), 1, "one train");
        let numbers = arrivals
            .into_iter()
            .flat_map(|arrival| arrival.received.into_datagrams())
            .map(|datagram| number_of(&datagram));
        assert!(numbers.eq(0..30));
    }
}

#[test]
fn without_gso_no_train_is_sent() {
    let sender = bind_client_socket(
        "127.0.0.1:0".parse().unwrap(),
        &SocketOptions {
            gso: false,
            ..options()
        },
    )
    .unwrap();
    assert!(!sender.is_gso_enabled());
    let peer = client("127.0.0.1:0");
    send(
        &sender,
        peer.local_addr(),
        None,
        (0..20).map(|number| message(4, 700, number)),
    );
    assert_eq!(receive_datagrams(&[&peer], 20).len(), 20);
}

#[test]
fn an_oversized_datagram_is_refused_and_the_others_arrive() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let sender = client(local);
        let peer = client(local);
        let mut queue = SendQueue::with_limits(100, 1_000_000);
        // The MTU of loopback is 65,536 bytes.
        for bytes in [100, 70_000, 100, 65_400, 100] {
            queue.push(peer.local_addr(), None, vec![0; bytes]).unwrap();
        }
        let results: Vec<_> = flush(&mut queue, &sender)
            .into_iter()
            .map(|(_, outcome)| outcome)
            .collect();
        let too_long = Err(SendError::MessageTooLong);
        assert_eq!(results, [Ok(()), too_long, Ok(()), Ok(()), Ok(())]);
        let arrivals = receive_datagrams(&[&peer], 4);
        let sizes: Vec<usize> = arrivals
            .iter()
            .map(|arrival| arrival.received.buffer.len())
            .collect();
        assert_eq!(sizes, [100, 100, 65_400, 100]);
    }
}

#[test]
fn refused_destinations_do_not_stop_the_others() {
    let sender = client("127.0.0.1:0");
    let peer = client("127.0.0.1:0");
    let mut queue = SendQueue::with_limits(100, 1_000_000);
    // A broadcast needs SO_BROADCAST, and port 0 is invalid.
    let broadcast: SocketAddr = "255.255.255.255:9".parse().unwrap();
    let port_0: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for _ in 0..3 {
        for to in [broadcast, peer.local_addr(), port_0] {
            queue.push(to, None, vec![0; 100]).unwrap();
        }
    }
    let mut results: Vec<_> = flush(&mut queue, &sender)
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect();
    results.sort_by_key(|result| result.err().map(SendError::index));
    let not_permitted = Err(SendError::NotPermitted);
    let other = Err(SendError::Other);
    let expected = [[Ok(()); 3], [not_permitted; 3], [other; 3]].concat();
    assert_eq!(results, expected);
    assert_eq!(receive_datagrams(&[&peer], 3).len(), 1, "one train");
    let refused = queue.destinations_without_gso(Instant::now());
    assert_eq!(refused, 0, "the trains were not refused as trains");
}

#[test]
fn a_connected_socket_survives_icmp_errors() {
    // The port stays bound, so that no other socket gets it, but refuses datagrams from other addresses than its own.
    let closed = client("127.0.0.1:0");
    let gone = closed.local_addr();
    closed.connect(gone).unwrap();
    let sender = client("127.0.0.1:0");
    sender.connect(gone).unwrap();
    // Loopback answers each datagram with ICMP at once, and the next system call returns the error.
    for _ in 0..10 {
        send(&sender, gone, None, [message(4, 32, 0)]);
        assert!(is_silent(&sender));
        send(
            &sender,
            gone,
            None,
            (0..3).map(|number| message(4, 32, number)),
        );
        send(&sender, gone, None, [message(4, 32, 0)]);
    }
}

#[test]
fn a_connected_socket_receives_from_its_peer_alone() {
    let (peer, stranger) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let socket = client("127.0.0.1:0");
    socket.connect(peer.local_addr()).unwrap();
    send(&stranger, socket.local_addr(), None, [message(4, 32, 1)]);
    send(&peer, socket.local_addr(), None, [message(4, 32, 2)]);
    let arrivals = receive_datagrams(&[&socket], 1);
    assert_eq!(number_of(&arrivals[0].received.buffer), 2);
}

#[test]
fn wildcard_sockets_answer_from_the_address_they_received_on() {
    for (listen, clients, addresses) in [
        (
            "0.0.0.0:0",
            "127.0.0.1:0",
            &["127.0.0.1", "127.0.0.2", "127.3.4.5"][..],
        ),
        ("[::]:0", "[::1]:0", &["::1"]),
    ] {
        for dispatch in [Dispatch::Kernel, Dispatch::User] {
            let listen = listen.parse().unwrap();
            let group = bind_tunnel_group(listen, workers(1), &KEY, dispatch, &options()).unwrap();
            let client = client(clients);
            for address in addresses {
                let to = SocketAddr::new(address.parse().unwrap(), group.local_addr.port());
                assert_answers_from(&group.data[0], &client, to);
            }
        }
    }
}

/// Sends a datagram to `to`, and answers it with a datagram and with a train.
fn assert_answers_from(server: &ShardSocket, client: &ShardSocket, to: SocketAddr) {
    send(client, to, None, [message(4, 32, 0)]);
    let question = receive_datagrams(&[server], 1).remove(0).received;
    assert_eq!(question.from, client.local_addr());
    assert_eq!(question.local_ip, Some(to.ip()));

    for length in [1, 5] {
        let answer = (0..length).map(|number| message(4, 100, number));
        send(server, question.from, question.local_ip, answer);
        let arrivals = receive_datagrams(&[client], length as usize);
        assert_eq!(arrivals.len(), 1, "a datagram or a train");
        assert_eq!(arrivals[0].received.from, to);
        assert_eq!(
            arrivals[0].received.local_ip, None::<IpAddr>,
            "the client's socket is not a wildcard socket"
        );
    }
}

#[test]
fn a_send_buffer_that_adapts_starts_small_and_grows_while_it_drains_fast() {
    let options = SocketOptions {
        send_buffer_bytes: 100_000,
        ..options()
    };
    let socket = bind_client_socket("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let bytes = || SockRef::from(&socket).send_buffer_size().unwrap() / 2;
    assert_eq!(bytes(), 100_000);
    socket.adapt_send_buffer(30_000).unwrap();
    assert_eq!(bytes(), 30_000);
    let now = Instant::now();
    for expected in [60_000, 100_000, 100_000] {
        socket.note_blocked(now);
        socket.note_writable(now + Duration::from_millis(1));
        assert_eq!(bytes(), expected);
    }
    socket.note_blocked(now);
    socket.note_writable(now + Duration::from_millis(60));
    assert_eq!(bytes(), 50_000);
    assert_eq!(socket.unsent_bytes().unwrap(), 0);
}

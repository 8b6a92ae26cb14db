//! Receiving.

use std::net::SocketAddr;

use udp_shards::{
    Dispatch, ReceiveBatch, Received, ShardSocket, SocketOptions, bind_client_socket,
    bind_tunnel_group,
};

use crate::support::{
    KEY, client, is_silent, message, number_of, options, receive_datagrams, send, workers,
};

/// Receives all queued trains.
fn receive_all(socket: &ShardSocket, batch: &mut ReceiveBatch) -> Vec<Received> {
    let mut all = Vec::new();
    while socket.receive(batch).is_ok() {
        all.extend(batch.drain());
    }
    all
}

/// More can exceed the default limit of the receive buffer.
const TRAINS_AT_ONCE: u32 = 3;

#[test]
fn thousands_of_trains_arrive_whole() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let group = bind_tunnel_group(listen, workers(2), &KEY, Dispatch::Kernel, &options()).unwrap();
    let sender = client("127.0.0.1:0");
    let owner = &group.data[KEY.worker_of(sender.local_addr(), workers(2))];
    let mut batch = ReceiveBatch::new(8);
    let mut next = 0;
    for _ in 0..700 {
        for _ in 0..TRAINS_AT_ONCE {
            let first = 44 * next;
            let train = (first..first + 44).map(|number| message(4, 1400, number));
            send(&sender, group.local_addr, None, train);
            next += 1;
        }
        let trains = receive_all(owner, &mut batch);
        assert_eq!(trains.len(), TRAINS_AT_ONCE as usize);
        for (train, number) in trains.into_iter().zip(next - TRAINS_AT_ONCE..) {
            assert_eq!((train.buffer.len(), train.segment_size), (44 * 1400, 1400));
            assert_eq!((train.datagram_count(), train.truncated), (44, false));
            assert_eq!(train.from, sender.local_addr());
            for (datagram, number) in train.into_datagrams().zip(44 * number..) {
                assert_eq!((datagram.len(), number_of(&datagram)), (1400, number));
            }
        }
        // Loopback queues within the send call, so no train is still on its way.
        assert!(is_silent(owner));
    }
    assert_eq!(owner.kernel_drops(), 0);
}

#[test]
fn a_train_splits_into_the_datagrams_that_were_sent() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let (sender, receiver) = (client(local), client(local));
        for sizes in [
            &[1400, 1400, 1][..],
            &[1400, 1400, 1400],
            &[9000; 7],
            &[1; 64],
            &[0],
            &[65_400],
        ] {
            let datagrams = sizes.iter().map(|&size| vec![size as u8; size]);
            send(&sender, receiver.local_addr(), None, datagrams);
            let mut arrivals = receive_datagrams(&[&receiver], sizes.len());
            assert_eq!(arrivals.len(), 1, "one train");
            let train = arrivals.remove(0).received;
            assert_eq!(train.datagram_count(), sizes.len());
            assert!(
                train
                    .into_datagrams()
                    .map(|datagram| datagram.len())
                    .eq(sizes.iter().copied())
            );
        }
    }
}

#[test]
fn without_gro_each_datagram_arrives_alone() {
    let local = "127.0.0.1:0".parse().unwrap();
    let receiver = bind_client_socket(
        local,
        &SocketOptions {
            gro: false,
            ..options()
        },
    )
    .unwrap();
    let sender = client("127.0.0.1:0");
    send(
        &sender,
        receiver.local_addr(),
        None,
        (0..20).map(|number| message(4, 500, number)),
    );
    let arrivals = receive_datagrams(&[&receiver], 20);
    assert_eq!(arrivals.len(), 20);
    for (arrival, number) in arrivals.iter().zip(0..) {
        let received = &arrival.received;
        assert_eq!((received.segment_size, received.datagram_count()), (500, 1));
        assert_eq!(number_of(&received.buffer), number);
    }
}

#[test]
fn stored_trains_do_not_change() {
    let (sender, receiver) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let mut batch = ReceiveBatch::new(3);
    let mut kept = Vec::new();
    for number in 0..3000_u32 {
        let datagrams = 1 + number % 5;
        let train = (0..datagrams).map(|_| message(4, 1200, number));
        send(&sender, receiver.local_addr(), None, train);
        for received in receive_all(&receiver, &mut batch) {
            let datagrams = received.into_datagrams().collect::<Vec<_>>();
            // Most are kept for a while, some until the end, and some are dropped at once.
            match number % 7 {
                0 => {}
                1 => kept.push((u32::MAX, number, datagrams)),
                _ => kept.push((number + 100, number, datagrams)),
            }
        }
        kept.retain(|(until, _, _)| *until > number);
        if number % 50 == 0 || number == 2999 {
            for (_, number, datagrams) in &kept {
                assert_eq!(datagrams.len() as u32, 1 + number % 5);
                assert!(
                    datagrams
                        .iter()
                        .all(|datagram| **datagram == message(4, 1200, *number))
                );
            }
        }
    }
}

#[test]
fn memory_is_reused_once_its_trains_are_dropped() {
    let (sender, receiver) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let mut batch = ReceiveBatch::new(2);
    let mut places = Vec::new();
    for number in 0..1000 {
        send(
            &sender,
            receiver.local_addr(),
            None,
            [message(4, 1400, number)],
        );
        for received in receive_all(&receiver, &mut batch) {
            places.push(received.buffer.as_ptr());
        }
    }
    assert_eq!(places.len(), 1000);
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        places.len(),
        1,
        "each train is written to the start of the first slot's block"
    );
}

#[test]
fn untaken_trains_come_before_new_ones() {
    let (sender, receiver) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let mut batch = ReceiveBatch::new(4);
    for number in 0..6 {
        send(
            &sender,
            receiver.local_addr(),
            None,
            [message(4, 100, number)],
        );
    }
    assert_eq!(receiver.receive(&mut batch).unwrap(), 4);
    let first = batch.next_train().unwrap();
    assert_eq!(number_of(&first.buffer), 0);
    assert_eq!(
        receiver.receive(&mut batch).unwrap(),
        3,
        "no new train while the batch holds some"
    );
    assert_eq!(batch.len(), 3);
    assert!(
        batch
            .drain()
            .map(|received| number_of(&received.buffer))
            .eq(1..4)
    );
    assert!(batch.is_empty());
    assert_eq!(receiver.receive(&mut batch).unwrap(), 2);
    assert!(
        batch
            .drain()
            .map(|received| number_of(&received.buffer))
            .eq(4..6)
    );
    assert!(is_silent(&receiver));
}

#[test]
fn drops_of_the_kernel_are_counted() {
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let tiny = SocketOptions {
        receive_buffer_bytes: 10_000,
        ..options()
    };
    let receiver = bind_client_socket(local, &tiny).unwrap();
    let sender = client("127.0.0.1:0");
    let mut sent = 0;
    let mut arrived = 0;
    for _ in 0..3 {
        for number in 0..100 {
            send(
                &sender,
                receiver.local_addr(),
                None,
                [message(4, 1400, number)],
            );
            sent += 1;
        }
        let mut batch = ReceiveBatch::new(8);
        arrived += receive_all(&receiver, &mut batch).len() as u64;
        assert!(arrived < sent, "the buffer is too small for 100 datagrams");
        assert_eq!(receiver.kernel_drops(), sent - arrived);
    }
}

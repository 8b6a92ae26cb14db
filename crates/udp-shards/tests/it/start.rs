//! Datagrams that arrive while a group is being bound.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use socket2::SockRef;
use testkit::oracle::destination::destination_of;
use testkit::own_address;
use testkit::packets::from_remote;
use udp_shards::{
    Dispatch, ReceiveBatch, Received, ShardSocket, SocketOptions, TunnelGroup, bind_tunnel_group,
    bind_upstream_group,
};

use crate::support::{KEY, message, workers};

/// Enough sockets that binding them takes many times as long as sending a datagram.
const WORKERS: usize = 120;

/// Number of starts in a test: whether a datagram arrives at the moment that matters is chance.
const STARTS: usize = 8;

/// Number of threads that send.
const SENDERS: usize = 2;

fn options() -> SocketOptions {
    SocketOptions {
        receive_buffer_bytes: 64 << 10,
        send_buffer_bytes: 64 << 10,
        ..SocketOptions::default()
    }
}

fn bind_tunnels(listen: SocketAddr) -> TunnelGroup {
    bind_tunnel_group(listen, workers(WORKERS), &KEY, Dispatch::Kernel, &options()).unwrap()
}

/// Binds several times, while datagrams of 64 flows are sent to `to`, waits each time until `is_done` returns true, and
/// calls `check`.
fn bind_under_load<T>(
    to: SocketAddr,
    datagrams: &[Vec<u8>],
    bind: impl Fn() -> T,
    is_done: impl Fn(&T) -> bool,
    check: impl Fn(T),
) {
    let is_over = AtomicBool::new(false);
    let all_send = Barrier::new(SENDERS + 1);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let bind_flow = |_| UdpSocket::bind((to.ip(), 0)).unwrap();
                let flows: Vec<UdpSocket> = (0..32).map(bind_flow).collect();
                all_send.wait();
                while !is_over.load(Ordering::Relaxed) {
                    for (flow, datagram) in flows.iter().zip(datagrams.iter().cycle()) {
                        // Not connected, so sending succeeds before the first socket is bound, too.
                        flow.send_to(datagram, to).unwrap();
                    }
                }
            });
        }
        all_send.wait();
        // Ends the senders if a check fails.
        let _ends = SetOnDrop(&is_over);
        for _ in 0..STARTS {
            let bound = bind();
            while !is_done(&bound) {
                thread::yield_now();
            }
            check(bound);
        }
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns true if a datagram is queued on the socket, and leaves it there.
fn has_datagrams(socket: &ShardSocket) -> bool {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1];
    SockRef::from(socket).peek(&mut buffer).is_ok()
}

/// Returns the datagrams that were queued first.
fn receive_first(socket: &ShardSocket) -> Vec<Received> {
    let mut batch = ReceiveBatch::new(64);
    // An empty socket is an error.
    let _ = socket.receive(&mut batch);
    batch.drain().collect()
}

#[test]
fn datagrams_that_arrive_during_the_start_reach_only_their_workers() {
    let listen = own_address();
    bind_under_load(
        listen,
        &[message(4, 64, 0), message(1, 148, 0), message(9, 100, 0)],
        || bind_tunnels(listen),
        |group| {
            let mut kinds = [&group.data, &group.handshake, &group.mixed].into_iter();
            kinds.all(|sockets| sockets.iter().any(has_datagrams))
        },
        |group| {
            for (kind, sockets) in [(4, &group.data), (1, &group.handshake), (9, &group.mixed)] {
                for (worker, socket) in sockets.iter().enumerate() {
                    for train in receive_first(socket) {
                        let owner = KEY.worker_of(train.from, workers(WORKERS));
                        assert_eq!((train.buffer[0], owner), (kind, worker));
                    }
                }
            }
        },
    );
}

#[test]
fn packets_that_arrive_during_the_start_reach_only_their_workers() {
    let internal = own_address();
    let packets: Vec<Vec<u8>> = (1..100)
        .map(|last| from_remote(SocketAddr::from(([10, 0, 0, last], 4000))))
        .collect();
    bind_under_load(
        internal,
        &packets,
        || {
            let workers = workers(WORKERS);
            bind_upstream_group(internal, workers, &KEY, Dispatch::Kernel, &options()).unwrap()
        },
        |group| group.sockets.iter().any(has_datagrams),
        |group| {
            for (worker, socket) in group.sockets.iter().enumerate() {
                let trains = receive_first(socket).into_iter();
                for packet in trains.flat_map(Received::into_datagrams) {
                    let to = destination_of(&packet).unwrap();
                    assert_eq!(KEY.worker_of(to, workers(WORKERS)), worker);
                }
            }
        },
    );
}

#[test]
fn datagrams_dropped_during_the_start_are_not_counted() {
    let listen = own_address();
    bind_under_load(
        listen,
        &[message(4, 64, 0)],
        || bind_tunnels(listen),
        |_| true,
        // The filters drop datagrams of any kind until the program selects sockets, then only garbage.
        |group| assert_eq!(group.garbage.unwrap().drops(), 0),
    );
}

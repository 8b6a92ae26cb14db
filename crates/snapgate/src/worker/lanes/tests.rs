use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use udp_shards::{Dispatch, DispatchKey, SocketOptions, bind_upstream_group};

use super::*;

/// Lanes of two routers on loopback, where all packets leave at once.
fn lanes() -> (mio::Poll, Lanes<Vec<u8>>) {
    let key = DispatchKey::from_words([1, 2]);
    let options = SocketOptions::default();
    let workers = NonZeroUsize::MIN;
    let any = "127.0.0.1:0".parse().unwrap();
    let mut group = bind_upstream_group(any, workers, &key, Dispatch::Kernel, &options).unwrap();
    let sockets = UnpolledLanes {
        own: group.sockets.remove(0),
        routers: (0..2).map(|_| group.lanes.bind().unwrap()).collect(),
        binder: group.lanes,
        receive: false,
    };
    let poll = mio::Poll::new().unwrap();
    let lanes = Lanes::new(Instant::now(), poll.registry(), Some(sockets)).unwrap();
    (poll, lanes)
}

fn local_host(number: usize) -> SocketAddr {
    let [_, _, high, low] = (number as u32).to_be_bytes();
    SocketAddr::new([127, 1, high, low].into(), 9)
}

/// Sends a packet to a host.
fn send(lanes: &mut Lanes<Vec<u8>>, now: Instant, number: usize) {
    let refused = lanes.push_to_host(now, local_host(number), vec![7; 100], &mut |_| {
        panic!("no packet is lost");
    });
    assert_eq!(refused, Ok(()));
    let mut sent = 0;
    let flushed = lanes.flush(now, &mut |_, outcome| {
        assert_eq!(outcome, Ok(()));
        sent += 1;
    });
    assert!(flushed.is_ok());
    assert_eq!(sent, 1);
}

/// Returns the hosts that have lanes.
fn tenants(lanes: &Lanes<Vec<u8>>) -> BTreeSet<Host> {
    let lanes = lanes.lanes.iter().flatten();
    lanes
        .filter_map(|lane| lane.tenancy.as_ref())
        .map(|tenancy| tenancy.host)
        .collect()
}

#[test]
fn each_host_has_a_separate_lane() {
    let (_poll, mut lanes) = lanes();
    assert_eq!(lanes.len(), 3);
    let now = Instant::now();
    for _ in 0..3 {
        for number in 0..10 {
            send(&mut lanes, now, number);
        }
    }
    assert_eq!(lanes.len(), 13);
    let indexes: BTreeSet<_> = lanes.hosts.values().copied().collect();
    assert_eq!(indexes, (3..13).collect());
}

#[test]
fn a_new_host_takes_the_lane_that_was_not_used_for_the_longest_time() {
    let (_poll, mut lanes) = lanes();
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    for number in 0..HOST_LANES_MAX {
        send(&mut lanes, at(number as u64), number);
    }
    send(&mut lanes, at(1000), 0);
    // Host 1 is now the one that was not used for the longest time.
    send(&mut lanes, at(2000), HOST_LANES_MAX);
    assert_eq!(lanes.len(), 3 + HOST_LANES_MAX);
    let tenants = tenants(&lanes);
    for (number, has_lane) in [(0, true), (1, false), (2, true), (HOST_LANES_MAX, true)] {
        assert_eq!(
            tenants.contains(&host(local_host(number))),
            has_lane,
            "{number}"
        );
    }
    assert_eq!(tenants.len(), HOST_LANES_MAX);
    assert_eq!(lanes.unresolved_hosts(at(2000)), 0);
}

#[test]
fn hosts_share_a_lane_when_lanes_change_too_fast() {
    let (_poll, mut lanes) = lanes();
    let now = Instant::now();
    // All at once: the limit allows 512 assignments.
    for number in 0..1000 {
        send(&mut lanes, now, number);
    }
    let with_lane = tenants(&lanes);
    assert_eq!(with_lane.len(), HOST_LANES_MAX);
    assert!(!with_lane.contains(&host(local_host(999))));
    send(&mut lanes, now + Duration::from_secs(1), 999);
    assert!(tenants(&lanes).contains(&host(local_host(999))));
}

#[test]
fn a_host_that_was_given_up_is_refused_until_it_is_heard() {
    let (_poll, mut lanes) = lanes();
    let now = Instant::now();
    send(&mut lanes, now, 1);
    let push = |lanes: &mut Lanes<_>| {
        lanes.push_to_host(now, local_host(1), vec![1], &mut |_| {
            panic!("another packet")
        })
    };
    assert_eq!(push(&mut lanes), Ok(()));
    let mut lost = Vec::new();
    lanes.give_up(now, lanes.hosts[&host(local_host(1))], &mut |packet| {
        lost.push(packet);
    });
    assert_eq!(lost, [[1]]);
    assert_eq!(lanes.len(), 3);
    assert_eq!(lanes.unresolved_hosts(now), 1);
    assert_eq!(push(&mut lanes), Err((Refusal::Unresolved, vec![1])));

    lanes.heard(local_host(1));
    assert_eq!(push(&mut lanes), Ok(()));
    assert_eq!(lanes.len(), 4);
}

#[test]
fn the_queue_of_a_host_is_bounded() {
    let (_poll, mut lanes) = lanes();
    let now = Instant::now();
    let mut push = || lanes.push_to_host(now, local_host(1), vec![1], &mut |_| {});
    for _ in 0..HOST_QUEUE.0 {
        assert_eq!(push(), Ok(()));
    }
    assert_eq!(push(), Err((Refusal::QueueFull, vec![1])));
    assert_eq!(lanes.push(1, local_host(2), vec![1]), Ok(()));
}

//! The open connections, and which of them gives way to a new one.
//!
//! A new connection is always accepted. At a limit, another one is closed for it. At the limit of its origin (an IPv4
//! address or an IPv6 /64), that is one of the same origin. At the limit of all connections, it is one of the network
//! with the most connections (an IPv4 address or an IPv6 /48, which one site can use as a whole), and there one of the
//! origin with the most. So the origins of a network with many connections replace their own, and a client of a network
//! with few keeps its connection, however many requests others send.
//!
//! Among equals, the connection is closed that has waited longest for a complete request. So idle connections, however
//! many, delay no request.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use super::activity::Activity;
use super::metrics::{ConnectionEnd, ControlMetrics};

/// Prefix length of the IPv6 addresses that one host can use as a whole.
const HOST_BITS: u32 = 64;

/// Prefix length of the IPv6 addresses that one site can use as a whole. Larger blocks are unusual (RFC 6177).
const SITE_BITS: u32 = 48;

/// An IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Origin(IpAddr);

/// An IPv4 address, or the /48 of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Network(IpAddr);

impl Origin {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(prefix(ip, HOST_BITS))
    }

    fn network(self) -> Network {
        Network(prefix(self.0, SITE_BITS))
    }
}

/// Returns an IPv4 address, or the first bits of an IPv6 address.
fn prefix(ip: IpAddr, bits: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> bits))),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// The open connections of a server.
pub(super) struct Connections {
    max: usize,
    max_per_origin: usize,
    metrics: ControlMetrics,
    open: Mutex<Vec<Open>>,
}

struct Open {
    task: AbortHandle,
    origin: Origin,
    activity: Arc<Activity>,
}

impl Connections {
    pub(super) fn new(max: usize, max_per_origin: usize, metrics: ControlMetrics) -> Self {
        Self {
            max,
            max_per_origin,
            metrics,
            open: Mutex::new(Vec::new()),
        }
    }

    /// Adds a connection, after closing others until there is room for it.
    pub(super) fn add(&self, task: AbortHandle, origin: Origin, activity: Arc<Activity>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.task.is_finished());
        let of_origin = |connection: &Open| connection.origin == origin;
        while open.iter().filter(|open| of_origin(open)).count() >= self.max_per_origin.max(1) {
            let rank = |connection: &Open| {
                let is_other = !of_origin(connection);
                (is_other, connection.activity.rank())
            };
            self.close_first(&mut open, rank, ConnectionEnd::AddressLimit);
        }
        while open.len() >= self.max.max(1) {
            // The new connection counts as well, so that it does not replace one of an origin that has fewer.
            let origins = || open.iter().map(|open| open.origin).chain([origin]);
            let networks = counts(origins().map(Origin::network));
            let origins = counts(origins());
            let rank = |connection: &Open| {
                let of_network = networks.get(&connection.origin.network());
                let of_origin = origins.get(&connection.origin);
                let rank = connection.activity.rank();
                (Reverse(of_network), Reverse(of_origin), rank)
            };
            self.close_first(&mut open, rank, ConnectionEnd::Limit);
        }
        open.push(Open {
            task,
            origin,
            activity,
        });
    }

    /// Closes the connection with the lowest rank.
    fn close_first<R: Ord>(
        &self,
        open: &mut Vec<Open>,
        rank: impl Fn(&Open) -> R,
        end: ConnectionEnd,
    ) {
        let ranks = open.iter().map(rank).enumerate();
        let first = ranks.min_by(|(_, rank), (_, other)| rank.cmp(other));
        if let Some((index, _)) = first {
            open.swap_remove(index).task.abort();
            self.metrics.ended(end);
        }
    }
}

/// Counts how often each value occurs.
fn counts<T: Eq + Hash>(values: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::task::JoinHandle;

    use super::*;

    #[test]
    fn a_host_with_a_prefix_of_ipv6_is_one_origin() {
        let origin = |ip: &str| Origin::of(ip.parse().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:0:0:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("192.0.2.1"), origin("::ffff:192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    }

    #[test]
    fn a_site_with_a_prefix_of_ipv6_is_one_network() {
        let network = |ip: &str| Origin::of(ip.parse().unwrap()).network();
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    /// Opens connections from these addresses, each one later than those before it, and returns for each one whether it
    /// is still open.
    fn open(max: usize, ips: &[&str]) -> Vec<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let connections = Connections::new(max, max, ControlMetrics::new());
            let begin = Instant::now();
            let mut tasks: Vec<JoinHandle<()>> = Vec::new();
            for (ip, second) in ips.iter().zip(0..) {
                let task = tokio::spawn(std::future::pending());
                let activity = Activity::new(begin + Duration::from_secs(second));
                let origin = Origin::of(ip.parse().unwrap());
                connections.add(task.abort_handle(), origin, Arc::new(activity));
                tasks.push(task);
                // Aborted tasks end.
                tokio::task::yield_now().await;
            }
            tasks.iter().map(|task| !task.is_finished()).collect()
        })
    }

    #[test]
    fn origins_with_many_connections_do_not_replace_those_with_few() {
        let [a, b, few] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let open = open(6, &[few, a, a, a, b, b, b, b, a, a]);
        assert_eq!(open.iter().filter(|&&open| open).count(), 6);
        assert!(open[0]);
    }

    #[test]
    fn a_new_connection_replaces_the_oldest_of_its_origin_if_that_has_the_most() {
        let [a, b] = ["192.0.2.1", "192.0.2.2"];
        assert_eq!(open(2, &[b, a, a]), [true, false, true]);
    }

    #[test]
    fn the_hosts_of_one_site_do_not_replace_other_clients() {
        let few = "192.0.2.1";
        let mut ips = vec![few, few];
        let hosts: Vec<String> = (0..20)
            .map(|host| format!("2001:db8:0:{host}::1"))
            .collect();
        ips.extend(hosts.iter().map(String::as_str));
        let open = open(6, &ips);
        assert_eq!(open.iter().filter(|&&open| open).count(), 6);
        assert_eq!(open[..2], [true, true]);
    }

    #[test]
    fn among_equal_origins_the_oldest_connection_is_closed() {
        let ips = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        assert_eq!(open(2, &ips), [false, true, true]);
    }
}

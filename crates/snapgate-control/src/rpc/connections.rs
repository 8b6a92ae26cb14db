//! The open connections, and which of them gives way to a new one.
//!
//! A new connection is always accepted. At a limit, another one is closed for it: first the one that has waited longest
//! for a complete request. So idle connections, however many, delay no request.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use super::activity::Activity;
use super::metrics::{ConnectionEnd, ControlMetrics};

/// An IPv4 address, or the /64 of an IPv6 address, which one host can use as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin(IpAddr);

impl Origin {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            ip @ IpAddr::V4(_) => ip,
        })
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
            self.close_one(&mut open, of_origin, ConnectionEnd::AddressLimit);
        }
        while open.len() >= self.max.max(1) {
            self.close_one(&mut open, |_| true, ConnectionEnd::Limit);
        }
        open.push(Open {
            task,
            origin,
            activity,
        });
    }

    fn close_one(
        &self,
        open: &mut Vec<Open>,
        may_close: impl Fn(&Open) -> bool,
        end: ConnectionEnd,
    ) {
        let first = open
            .iter()
            .enumerate()
            .filter(|(_, connection)| may_close(connection))
            .min_by_key(|(_, connection)| connection.activity.rank());
        if let Some((index, _)) = first {
            open.swap_remove(index).task.abort();
            self.metrics.ended(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_prefix_of_ipv6_is_one_origin() {
        let origin = |ip: &str| Origin::of(ip.parse().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:0:0:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("192.0.2.1"), origin("::ffff:192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    }
}

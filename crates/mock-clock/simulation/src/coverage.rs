//! Coverage: the events that occurred. A fault that never occurs finds nothing.

use std::collections::BTreeMap;
use std::fmt;

use snaptun::{DropReason, ShardCounters};

use crate::gateway::Fate;

/// Number of occurrences of each event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Returns the events that never occurred, except those that no simulated caller can cause.
    pub fn missing(&self) -> Vec<&'static str> {
        let drops = DropReason::ALL
            .into_iter()
            // The simulation sends no empty packets.
            .filter(|reason| *reason != DropReason::Empty)
            .map(DropReason::name);
        drops
            .chain(COUNTERS.iter().map(|(name, _)| *name))
            .chain([SERVED])
            .filter(|name| !self.counts.contains_key(name))
            .collect()
    }

    /// Adds the events of another simulation.
    pub fn add(&mut self, other: &Coverage) {
        for (name, count) in &other.counts {
            self.add_to(name, *count);
        }
    }

    pub(crate) fn note_fate(&mut self, fate: &Fate) {
        let name = match fate {
            Fate::Delivered => "delivered",
            Fate::Consumed(_) => "consumed",
            Fate::Dropped(reason) => reason.name(),
            Fate::Encapsulated => "encapsulated",
            Fate::Waiting => "waiting",
        };
        self.add_to(name, 1);
    }

    pub(crate) fn note_counters(&mut self, counters: &ShardCounters) {
        for (name, of) in COUNTERS {
            self.add_to(name, of(counters));
        }
    }

    pub(crate) fn note_served(&mut self, clients: usize) {
        self.add_to(SERVED, clients as u64);
    }

    fn add_to(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.counts.entry(name).or_default() += count;
        }
    }
}

const SERVED: &str = "clients served again without faults";

/// Counter of a shard. Handshakes begun under pressure are left out: the floods here are too small, and the tests of
/// `snaptun-virtual-time` have larger ones.
type Counter = (&'static str, fn(&ShardCounters) -> u64);

const COUNTERS: [Counter; 22] = [
    ("handshakes answered in new tunnels", |c| {
        c.handshakes_answered_new
    }),
    ("handshakes answered in known tunnels", |c| {
        c.handshakes_answered_known
    }),
    ("handshakes initiated", |c| c.handshakes_initiated),
    ("handshakes completed", |c| c.handshakes_completed),
    ("handshakes verified by a cookie", |c| c.handshakes_verified),
    ("handshakes answered beyond all limits", |c| {
        c.handshakes_beyond_limits
    }),
    ("cookies over an address's limit", |c| {
        c.cookies_demanded_address_limit
    }),
    ("cookies over a shard's limit", |c| {
        c.cookies_demanded_total_limit
    }),
    ("cookies for a takeover", |c| c.cookies_demanded_takeover),
    ("overloaded seconds", |c| c.overloaded_seconds),
    ("restarts of tunnels started", |c| {
        c.restart_handshakes_started
    }),
    ("restarts of tunnels completed", |c| {
        c.restart_handshakes_completed
    }),
    ("restarts of tunnels deferred", |c| {
        c.restart_handshakes_deferred
    }),
    ("keepalives sent", |c| c.keepalives_sent),
    ("tunnels expired", |c| c.tunnels_expired),
    ("tunnels revoked", |c| c.tunnels_revoked),
    ("tunnels replaced", |c| c.tunnels_replaced),
    ("tunnels evicted", |c| c.tunnels_evicted),
    ("tunnels moved", |c| c.tunnels_moved),
    ("tunnels reopened", |c| c.tunnels_reopened),
    ("waited and sent", |c| c.waiting_sent),
    ("waited and discarded", |c| {
        c.waiting_discarded_expired + c.waiting_discarded_revoked + c.waiting_discarded_displaced
    }),
];

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "{count:>12}  {name}")?;
        }
        Ok(())
    }
}

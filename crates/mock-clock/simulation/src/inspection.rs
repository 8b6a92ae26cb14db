//! Invariants of the shards, checked from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::violation::Violation;

/// Maximum time until the tunnel of a revoked identity is gone.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Number of locks in the replay guard, each of which remembers at least one identity.
const GUARD_LOCKS: usize = 64;

/// Counts that change whenever tunnels come or go.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Inspected {
    created: u64,
    /// Removed because of their age, or because their sessions were ended.
    expired: u64,
    tunnels: usize,
}

impl Gateway {
    /// Checks the ledgers of all shards, and the tunnels of shards in which tunnels came or went.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Violation> {
        for number in 0..self.shards.len() {
            let shard = &self.shards[number];
            shard.ledger.check(number, &shard.server)?;
            self.check_limits(number)?;
            let counters = shard.server.counters();
            let inspected = Inspected {
                created: counters.tunnels_created,
                expired: counters.tunnels_expired + counters.tunnels_reopened,
                tunnels: shard.server.tunnel_count(),
            };
            let before = std::mem::replace(&mut self.shards[number].inspected, inspected);
            if before != inspected {
                self.inspect(now, number)?;
                let none_expired = before.expired == inspected.expired;
                self.find_displaced(now, number, none_expired)?;
            }
        }
        Ok(())
    }

    /// Checks all invariants.
    pub(crate) fn inspect_all(&mut self, now: Instant) -> Result<(), Violation> {
        let remembered = 2 * GUARD_LOCKS * self.scenario.guarded_identities.div_ceil(GUARD_LOCKS);
        within(0, "guarded identities", self.guard.identities(), remembered)?;
        for number in 0..self.shards.len() {
            self.inspect(now, number)?;
        }
        Ok(())
    }

    fn check_limits(&self, number: usize) -> Result<(), Violation> {
        let server = &self.shards[number].server;
        let limits = &self.scenario.limits;
        let most_waiting = server.tunnel_count() * limits.waiting_packets_per_tunnel;
        let checks = [
            ("tunnels", server.tunnel_count(), limits.tunnels_per_shard),
            (
                "half-open tunnels",
                server.half_open_tunnels(),
                limits.half_open_tunnels,
            ),
            ("waiting packets", server.waiting_packets(), most_waiting),
            (
                "remembered and lapsed tunnels",
                server.remembered_tunnels() + server.lapsed_tunnels(),
                limits.tunnels_per_shard,
            ),
            (
                "waiting bytes",
                server.waiting_bytes(),
                limits.waiting_bytes_per_shard,
            ),
        ];
        for (what, is, limit) in checks {
            within(number, what, is, limit)?;
        }
        Ok(())
    }

    /// Checks every tunnel of a shard.
    fn inspect(&self, now: Instant, number: usize) -> Result<(), Violation> {
        let server = &self.shards[number].server;
        let limits = &self.scenario.limits;
        let mut addresses = BTreeSet::new();
        let mut by_identity: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        let mut half_open = 0;
        for tunnel in server.tunnels() {
            let remote = tunnel.remote;
            if !addresses.insert(remote) {
                return Err(Violation::TwoTunnels {
                    shard: number,
                    remote,
                });
            }
            if !server.has_tunnel(remote) || self.owner_of(remote) != number {
                return Err(Violation::LostTunnel {
                    shard: number,
                    remote,
                });
            }
            let without = self.registry.time_without(tunnel.identity, now);
            let without = without.min(now.saturating_duration_since(self.runs_since));
            if without > REVOKED_WITHIN {
                return Err(Violation::OutlivedItsGrant {
                    identity: self.registry.number_of(tunnel.identity),
                    remote,
                    time: without,
                });
            }
            *by_identity.entry(*tunnel.identity).or_default() += 1;
            half_open += usize::from(!tunnel.in_use);
        }
        let most = by_identity.values().copied().max().unwrap_or_default();
        within(
            number,
            "tunnels of one identity",
            most,
            limits.tunnels_per_identity,
        )?;
        for (what, seen, counted) in [
            ("tunnels", addresses.len(), server.tunnel_count()),
            ("half-open tunnels", half_open, server.half_open_tunnels()),
        ] {
            if seen != counted {
                return Err(Violation::Unbalanced {
                    shard: number,
                    what,
                    seen: seen as u64,
                    counted: counted as u64,
                });
            }
        }
        Ok(())
    }

    /// Finds tunnels in use that are gone although their identity is authorized: displaced by another tunnel.
    fn find_displaced(
        &mut self,
        now: Instant,
        number: usize,
        none_expired: bool,
    ) -> Result<(), Violation> {
        let limits = &self.scenario.limits;
        let shard = &mut self.shards[number];
        let there: BTreeMap<_, _> = shard
            .server
            .tunnels()
            .map(|tunnel| (tunnel.remote, *tunnel.identity))
            .collect();
        let mut displaced = None;
        shard.talking.retain(|remote, talking| {
            let stays = there.get(remote) == Some(&talking.identity);
            let was_talking = now.saturating_duration_since(talking.heard_at) < limits.silent_after;
            let is_authorized = self.registry.session(&talking.identity, now).is_some();
            if !stays && was_talking && is_authorized {
                displaced = Some(*remote);
            }
            stays
        });
        match displaced {
            Some(remote) if none_expired && !limits.one_tunnel_per_identity => {
                Err(Violation::Displaced {
                    shard: number,
                    remote,
                })
            }
            _ => Ok(()),
        }
    }
}

fn within(shard: usize, what: &'static str, is: usize, limit: usize) -> Result<(), Violation> {
    if is <= limit {
        return Ok(());
    }
    Err(Violation::Limit {
        shard,
        what,
        is,
        limit,
    })
}

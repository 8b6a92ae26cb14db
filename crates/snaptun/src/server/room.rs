//! Room for new tunnels, and the choice of the tunnel to replace.
//!
//! A newcomer never ends a tunnel in use; it is refused instead. So an attacker can take only free and idle places.

use std::time::Instant;

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::server::{Removal, SnapTunServer};
use crate::tunnel::Tunnel;
use crate::tunnel_table::Slot;

/// Number of tunnels searched for a silent one. If there is none, the newcomer is refused, and its next attempt
/// continues the search.
const LOOKED_AT: usize = 64;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Makes room for one more tunnel of `identity`; `holder` is removed by the caller. The error is the limit that was
    /// hit.
    pub(crate) fn make_room(
        &mut self,
        now: Instant,
        identity: &[u8; 32],
        holder: Option<Slot>,
    ) -> Result<(), DropReason> {
        if self.census.tunnels_of(identity).len() >= self.config.tunnels_per_identity {
            let victim = self.least_used_of(identity, now);
            self.evict(victim.ok_or(DropReason::IdentityTunnelLimit)?);
        }
        if self.census.half_open() >= self.config.half_open_tunnels {
            let victim = self.census.oldest_half_open(&self.tunnels);
            self.evict(victim.ok_or(DropReason::ShardTunnelLimit)?);
        }
        if holder.is_none() && self.tunnels.len() >= self.config.tunnels_per_shard {
            let half_open = self.census.oldest_half_open(&self.tunnels);
            let victim = half_open.or_else(|| self.find_silent(now));
            self.evict(victim.ok_or(DropReason::ShardTunnelLimit)?);
        }
        Ok(())
    }

    /// Returns true if one more tunnel of `identity` fits without ending another.
    pub(crate) fn has_room(&self, identity: &[u8; 32]) -> bool {
        self.census.tunnels_of(identity).len() < self.config.tunnels_per_identity
            && self.census.half_open() < self.config.half_open_tunnels
            && self.tunnels.len() < self.config.tunnels_per_shard
    }

    /// Inserts a tunnel for which there is room.
    pub(crate) fn insert(&mut self, now: Instant, tunnel: Box<Tunnel<A::SessionData>>) {
        let slot = self.tunnels.insert(now, tunnel);
        let half_open_max = self.config.half_open_tunnels;
        self.census.add(slot, &self.tunnels, half_open_max);
    }

    fn evict(&mut self, victim: Slot) {
        self.remove(victim, Removal::Evicted);
    }

    /// Returns the oldest half-open tunnel of an identity, or else its longest silent one. Only the identity itself can
    /// exceed its limit, so it loses a tunnel of its own.
    fn least_used_of(&self, identity: &[u8; 32], now: Instant) -> Option<Slot> {
        let own = self.census.tunnels_of(identity).iter();
        own.filter_map(|slot| Some((*slot, self.tunnels.get(*slot)?)))
            .filter(|(_, tunnel)| tunnel.is_silent(now, self.config.silent_after))
            .min_by_key(|(_, tunnel)| (tunnel.is_in_use(), tunnel.heard_at(), tunnel.number()))
            .map(|(slot, _)| slot)
    }

    /// Returns the longest silent tunnel among the next [`LOOKED_AT`], if one of them is silent.
    fn find_silent(&mut self, now: Instant) -> Option<Slot> {
        let slots = self.tunnels.slots();
        let looked_at = LOOKED_AT.min(slots);
        let first = self.silent_search_at;
        self.silent_search_at = (first + looked_at).checked_rem(slots)?;
        (1..=looked_at)
            .map(|n| Slot((first + n) % slots))
            .filter_map(|slot| Some((slot, self.tunnels.get(slot)?)))
            .filter(|(_, tunnel)| tunnel.is_silent(now, self.config.silent_after))
            .min_by_key(|(_, tunnel)| tunnel.heard_at())
            .map(|(slot, _)| slot)
    }
}

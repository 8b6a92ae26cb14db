//! Room for new tunnels: which one goes when there are too many.
//!
//! A tunnel that talks goes for nobody. Before it, the newcomer is refused: an attacker can fill what is
//! free, and what is idle, but can end nothing that is in use.

use std::time::Instant;

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::server::{Removal, SnapTunServer};
use crate::tunnel::Tunnel;
use crate::tunnel_table::Slot;

/// How many tunnels are looked at for one that is silent. A newcomer that finds none is refused, and looks
/// at the next when it tries again.
const LOOKED_AT: usize = 64;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Makes room for one more tunnel of `identity`, or says which limit keeps it out. `holder` goes anyway.
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

    /// Whether there is room for one more tunnel of `identity` without ending another.
    pub(crate) fn has_room(&self, identity: &[u8; 32]) -> bool {
        self.census.tunnels_of(identity).len() < self.config.tunnels_per_identity
            && self.census.half_open() < self.config.half_open_tunnels
            && self.tunnels.len() < self.config.tunnels_per_shard
    }

    /// Takes in a tunnel that there is room for.
    pub(crate) fn insert(&mut self, now: Instant, tunnel: Box<Tunnel<A::SessionData>>) {
        let slot = self.tunnels.insert(now, tunnel);
        let half_open_max = self.config.half_open_tunnels;
        self.census.add(slot, &self.tunnels, half_open_max);
    }

    fn evict(&mut self, victim: Slot) {
        self.remove(victim, Removal::Evicted);
    }

    /// Of the tunnels of one identity the oldest that was never used, or else the one that is silent for
    /// longest. Nobody else can make it have too many, so it is its own that goes.
    fn least_used_of(&self, identity: &[u8; 32], now: Instant) -> Option<Slot> {
        let own = self.census.tunnels_of(identity).iter();
        own.filter_map(|slot| Some((*slot, self.tunnels.get(*slot)?)))
            .filter(|(_, tunnel)| tunnel.is_silent(now, self.config.silent_after))
            .min_by_key(|(_, tunnel)| (tunnel.is_in_use(), tunnel.heard_at(), tunnel.number()))
            .map(|(slot, _)| slot)
    }

    /// A tunnel that was not heard from lately, if there is one among the next that are looked at: of
    /// those, the one that is silent for longest.
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

//! How many tunnels there may be, and which one goes when there are too many.
//!
//! A tunnel that talks goes for nobody. Before it, the newcomer is refused: an attacker can fill what is
//! free, and what is idle, but can end nothing that is in use.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use smallvec::SmallVec;

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::server::{Removal, SnapTunServer};
use crate::tunnel::Tunnel;
use crate::tunnel_table::Slot;

/// How many tunnels are looked at for one that is silent. A newcomer that finds none is refused, and looks
/// at the next when it tries again.
const LOOKED_AT: usize = 64;

/// The tunnels by what is limited.
#[derive(Default)]
pub(crate) struct Census {
    by_identity: HashMap<[u8; 32], SmallVec<[Slot; 2]>, ahash::RandomState>,
    /// The tunnels that no peer has used yet, oldest first, with their numbers. Those that were used since, or
    /// are gone, are taken out when they get in the way.
    half_open_order: VecDeque<(Slot, u64)>,
    half_open: usize,
    /// Where the last search for a silent tunnel ended.
    hand: usize,
}

impl Census {
    /// How many tunnels no peer has used yet.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open
    }

    /// A tunnel came into being, which no peer has used yet.
    fn add(&mut self, slot: Slot, identity: [u8; 32], number: u64) {
        self.by_identity.entry(identity).or_default().push(slot);
        self.half_open_order.push_back((slot, number));
        self.half_open += 1;
    }

    /// The peer of a tunnel has used it for the first time.
    pub(crate) fn confirm(&mut self) {
        self.half_open -= 1;
    }

    pub(crate) fn remove<S>(&mut self, slot: Slot, tunnel: &Tunnel<S>) {
        self.half_open -= usize::from(!tunnel.is_confirmed());
        let Some(own) = self.by_identity.get_mut(tunnel.identity()) else {
            return;
        };
        own.retain(|other| *other != slot);
        if own.is_empty() {
            self.by_identity.remove(tunnel.identity());
        }
    }

    pub(crate) fn tunnels_of(&self, identity: &[u8; 32]) -> &[Slot] {
        self.by_identity
            .get(identity)
            .map_or(&[], SmallVec::as_slice)
    }
}

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
        if self.census.half_open >= self.config.half_open_tunnels {
            let victim = self.oldest_half_open();
            self.evict(victim.ok_or(DropReason::ShardTunnelLimit)?);
        }
        if holder.is_none() && self.tunnels.len() >= self.config.tunnels_per_shard {
            let victim = self.oldest_half_open().or_else(|| self.find_silent(now));
            self.evict(victim.ok_or(DropReason::ShardTunnelLimit)?);
        }
        Ok(())
    }

    /// Whether there is room for one more tunnel of `identity` without ending another.
    pub(crate) fn has_room(&self, identity: &[u8; 32]) -> bool {
        self.census.tunnels_of(identity).len() < self.config.tunnels_per_identity
            && self.census.half_open < self.config.half_open_tunnels
            && self.tunnels.len() < self.config.tunnels_per_shard
    }

    fn evict(&mut self, victim: Slot) {
        self.remove(victim, Removal::Evicted);
    }

    /// Of the tunnels of one identity the oldest that was never used, or else the one that is silent for
    /// longest. Nobody else can make it have too many, so it is its own that goes.
    fn least_used_of(&mut self, identity: &[u8; 32], now: Instant) -> Option<Slot> {
        let silent_after = self.config.silent_after;
        let mut victim = None;
        for slot in self.census.tunnels_of(identity) {
            let Some(tunnel) = self.tunnels.get_mut(*slot) else {
                continue;
            };
            if !tunnel.is_silent(now, silent_after) {
                continue;
            }
            let rank = (tunnel.is_confirmed(), tunnel.heard_at(), tunnel.number());
            if victim.is_none_or(|(least, _)| rank < least) {
                victim = Some((rank, *slot));
            }
        }
        victim.map(|(_, slot)| slot)
    }

    /// The tunnel that waits for its peer's first word for longest. A client speaks as soon as it is
    /// answered, so an honest one is the oldest for a round trip at most.
    fn oldest_half_open(&mut self) -> Option<Slot> {
        while let Some((slot, number)) = self.census.half_open_order.front().copied() {
            if self.is_half_open(slot, number) {
                return Some(slot);
            }
            self.census.half_open_order.pop_front();
        }
        None
    }

    fn is_half_open(&mut self, slot: Slot, number: u64) -> bool {
        let tunnel = self.tunnels.get_mut(slot);
        tunnel.is_some_and(|tunnel| tunnel.number() == number && !tunnel.is_confirmed())
    }

    /// A tunnel that was not heard from lately, if there is one among the next that are looked at: of
    /// those, the one that is silent for longest.
    fn find_silent(&mut self, now: Instant) -> Option<Slot> {
        let slots = self.tunnels.slots();
        let mut victim = None;
        for _ in 0..LOOKED_AT.min(slots) {
            self.census.hand = (self.census.hand + 1) % slots;
            let slot = Slot(self.census.hand);
            let Some(tunnel) = self.tunnels.get_mut(slot) else {
                continue;
            };
            let heard_at = tunnel.heard_at();
            if tunnel.is_silent(now, self.config.silent_after)
                && victim.is_none_or(|(earliest, _)| heard_at < earliest)
            {
                victim = Some((heard_at, slot));
            }
        }
        victim.map(|(_, slot)| slot)
    }

    /// Takes in a tunnel that there is room for.
    pub(crate) fn insert(&mut self, now: Instant, tunnel: Tunnel<A::SessionData>) {
        let (identity, number) = (*tunnel.identity(), tunnel.number());
        let slot = self.tunnels.insert(now, tunnel);
        self.census.add(slot, identity, number);
        self.trim_half_open_order();
    }

    /// Keeps the order of the half-open tunnels at the length that their limit asks for.
    fn trim_half_open_order(&mut self) {
        if self.census.half_open_order.len() <= 2 * self.config.half_open_tunnels.max(LOOKED_AT) {
            return;
        }
        // At least half of the entries go, so the cost is that of a few for each that came.
        let mut order = std::mem::take(&mut self.census.half_open_order);
        order.retain(|(slot, number)| self.is_half_open(*slot, *number));
        self.census.half_open_order = order;
    }
}

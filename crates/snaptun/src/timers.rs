//! Keepalives, rekeys and the end of tunnels, a slice of them at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ana_gotatun::packet::WgKind;

use crate::authorization::SnapTunAuthorization;
use crate::server::{Removal, SnapTunServer};
use crate::transmit::{Payload, Transmit};
use crate::tunnel_table::Slot;

/// At most so many slices make a round: with the default round one every 5 ms.
const SLICES_PER_ROUND_MAX: usize = 50;

/// A smaller slice is not worth waking up for.
const SLICE_SLOTS_MIN: usize = 64;

/// A call that comes late catches up, but with no more than this part of all tunnels, so that being
/// late does not make the next packets late.
const CATCH_UP_DIVISOR: usize = 8;

const _: () = assert!(CATCH_UP_DIVISOR < SLICES_PER_ROUND_MAX);

/// How long the shard can be left alone while it has no tunnel. Only the handshake limiter is due then,
/// once a second by a clock of its own; a bit more than a second never comes just before its time.
const IDLE_INTERVAL: Duration = Duration::from_millis(1050);

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Looks at the timers of a slice of the tunnels: sends keepalives and initiations that are due, and
    /// removes tunnels that expired or whose identity is no longer authorized.
    ///
    /// Does nothing before [`next_timer`](Self::next_timer). Every tunnel is looked at once in
    /// [`timer_round`](crate::ShardConfig::timer_round) if the calls are never more than an eighth of that
    /// apart.
    pub fn update_timers(&mut self, now: Instant, send_to_network: &mut VecDeque<Transmit>) {
        if now < self.next_timer() {
            return;
        }
        self.overload.reset_if_due();
        for slot in self.timer_round.next_slice(now, self.tunnels.slots()) {
            self.update_timers_of(slot, now, send_to_network);
        }
    }

    /// When [`update_timers`](Self::update_timers) has something to do. It may have passed.
    #[must_use]
    pub fn next_timer(&self) -> Instant {
        if self.tunnels.len() == 0 {
            self.timer_round.last_slice + IDLE_INTERVAL
        } else {
            self.timer_round.next_slice_at(self.tunnels.slots())
        }
    }

    fn update_timers_of(
        &mut self,
        slot: Slot,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return;
        };
        if !tunnel.is_authorized(&*self.authorization, now, self.generation) {
            self.remove(slot, Removal::Revoked);
            return;
        }
        match tunnel.update_timers(now) {
            Ok(None) => {}
            Ok(Some(message)) => {
                match &message {
                    WgKind::HandshakeInit(_) => self.counters.handshakes_initiated += 1,
                    _ => self.counters.keepalives_sent += 1,
                }
                send_to_network.push_back(Transmit {
                    to: tunnel.endpoint(),
                    packet: message.into(),
                    payload: Payload::Protocol,
                });
            }
            Err(_expired) => self.remove(slot, Removal::Expired),
        }
    }
}

/// Goes round the slots at an even pace.
pub(crate) struct TimerRound {
    round: Duration,
    /// The first slot of the next slice.
    next_slot: usize,
    last_slice: Instant,
}

impl TimerRound {
    pub(crate) fn new(now: Instant, round: Duration) -> Self {
        TimerRound {
            round: round.max(Duration::from_millis(1)),
            next_slot: 0,
            last_slice: now,
        }
    }

    fn next_slice_at(&self, slots: usize) -> Instant {
        let slices = slots
            .div_ceil(SLICE_SLOTS_MIN)
            .clamp(1, SLICES_PER_ROUND_MAX);
        self.last_slice + self.round / slices as u32
    }

    /// Returns the slots whose turn has come since the last slice.
    fn next_slice(&mut self, now: Instant, slots: usize) -> impl Iterator<Item = Slot> + use<> {
        let elapsed = now.saturating_duration_since(self.last_slice);
        self.last_slice = now;

        let due = (slots as u128 * elapsed.as_nanos()).div_ceil(self.round.as_nanos());
        let most = slots
            .div_ceil(CATCH_UP_DIVISOR)
            .max(SLICE_SLOTS_MIN)
            .min(slots);
        let len = usize::try_from(due).unwrap_or(usize::MAX).min(most);

        let first = self.next_slot;
        self.next_slot = (first + len).checked_rem(slots).unwrap_or(0);
        (first..first + len)
            .filter_map(move |n| n.checked_rem(slots))
            .map(Slot)
    }
}

//! Keepalives, rekeys and the end of tunnels, a slice of them at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ana_gotatun::packet::WgKind;

use crate::authorization::SnapTunAuthorization;
use crate::config::ShardConfig;
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
            round: round.clamp(ShardConfig::TIMER_ROUND_MIN, ShardConfig::TIMER_ROUND_MAX),
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(250);

    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn start() -> (TimerRound, Instant) {
        let now = Instant::now();
        (TimerRound::new(now, ROUND), now)
    }

    /// Calls as often as asked for, and returns how often each slot had its turn and the longest slice.
    fn turns(round: &mut TimerRound, slots: usize, until: Instant) -> (Vec<u32>, usize) {
        let mut turns = vec![0; slots];
        let mut longest = 0;
        while round.next_slice_at(slots) <= until {
            let now = round.next_slice_at(slots);
            let slice: Vec<_> = round.next_slice(now, slots).collect();
            longest = longest.max(slice.len());
            for slot in slice {
                turns[slot.0] += 1;
            }
        }
        (turns, longest)
    }

    #[test]
    fn every_slot_has_its_turn_once_a_round() {
        for slots in [1, 63, 64, 65, 500, 3200, 3201, 10_000, 100_000] {
            let (mut round, now) = start();
            let (turns, longest) = turns(&mut round, slots, now + ROUND);
            // Rounding up in each slice brings some slots forward, never back.
            assert!(turns.iter().all(|n| (1..=2).contains(n)), "{slots} slots");
            assert!(turns.iter().sum::<u32>() as usize <= slots + SLICES_PER_ROUND_MAX);
            assert!(longest <= SLICE_SLOTS_MIN.max(slots.div_ceil(SLICES_PER_ROUND_MAX) + 1));
        }
    }

    #[test]
    fn calls_an_eighth_of_a_round_apart_are_enough() {
        for slots in [1, 100, 511, 513, 10_007] {
            let (mut round, now) = start();
            let mut turns = vec![0; slots];
            for call in 1..=8 {
                for slot in round.next_slice(now + call * ROUND / 8, slots) {
                    turns[slot.0] += 1;
                }
            }
            assert!(turns.iter().all(|n| *n >= 1), "{slots} slots");
        }
    }

    #[test]
    fn a_late_call_does_not_look_at_every_tunnel_at_once() {
        let (mut round, now) = start();
        assert_eq!(round.next_slice(now + 100 * ROUND, 100_000).count(), 12_500);
        assert_eq!(round.next_slice_at(100_000), now + 100 * ROUND + ROUND / 50);
    }

    #[test]
    fn a_round_takes_no_time_out_of_bounds() {
        let (_, now) = start();
        let next = |round| TimerRound::new(now, round).next_slice_at(1);
        assert_eq!(next(Duration::ZERO), now + Duration::from_millis(1));
        assert_eq!(next(Duration::MAX), now + Duration::from_secs(1));
    }

    #[test]
    fn a_round_without_slots_is_empty() {
        let (mut round, now) = start();
        assert_eq!(round.next_slice(now + ROUND, 0).count(), 0);
    }

    #[test]
    fn the_turn_goes_on_when_slots_are_added() {
        let (mut round, now) = start();
        let first: Vec<_> = round.next_slice(now + ROUND / 2, 100).collect();
        assert_eq!((first[0], first.len()), (Slot(0), 50));
        let second: Vec<_> = round.next_slice(now + ROUND * 3 / 4, 200).collect();
        assert_eq!((second[0], second.len()), (Slot(50), 50));
    }
}

//! Order in which timers are checked: all slots once per round, one slice at a time.

use std::time::{Duration, Instant};

use crate::config::ShardConfig;
use crate::tunnel_table::Slot;

/// Maximum number of slices per round: with the default round one every millisecond, so that timer checks delay no
/// packet for long.
const SLICES_PER_ROUND_MAX: usize = 250;

/// Smallest slice worth waking up for.
const SLICE_SLOTS_MIN: usize = 64;

/// Largest slice after a late call, as a fraction of all tunnels, so that being late does not delay the next packets.
const CATCH_UP_DIVISOR: usize = 8;

const _: () = assert!(CATCH_UP_DIVISOR < SLICES_PER_ROUND_MAX);

/// Visits the slots at an even pace.
pub(crate) struct TimerRound {
    round: Duration,
    /// First slot of the next slice.
    next_slot: usize,
    pub(crate) last_slice: Instant,
    /// Authorization generation that every tunnel was checked against, or will be in this round.
    generation: u64,
    /// Number of slots left to visit in a round that checks every tunnel.
    slots_to_look_at: usize,
}

impl TimerRound {
    pub(crate) fn new(now: Instant, round: Duration, generation: u64) -> Self {
        TimerRound {
            round: round.clamp(ShardConfig::TIMER_ROUND_MIN, ShardConfig::TIMER_ROUND_MAX),
            next_slot: 0,
            last_slice: now,
            generation,
            slots_to_look_at: 0,
        }
    }

    /// Begins a round that checks every tunnel if authorizations changed.
    pub(crate) fn note_generation(&mut self, generation: u64, slots: usize) {
        if self.generation != generation {
            self.generation = generation;
            self.look_at_all(slots);
        }
    }

    /// Begins a round that checks every tunnel.
    pub(crate) fn look_at_all(&mut self, slots: usize) {
        self.slots_to_look_at = slots;
    }

    /// Returns true if the next slice is part of such a round.
    pub(crate) fn is_for_all(&self) -> bool {
        self.slots_to_look_at > 0
    }

    pub(crate) fn next_slice_at(&self, slots: usize) -> Instant {
        let slices = slots
            .div_ceil(SLICE_SLOTS_MIN)
            .clamp(1, SLICES_PER_ROUND_MAX);
        self.last_slice + self.round / slices as u32
    }

    /// Returns the slots that are due since the last slice.
    pub(crate) fn next_slice(
        &mut self,
        now: Instant,
        slots: usize,
    ) -> impl Iterator<Item = Slot> + use<> {
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
        self.slots_to_look_at = self.slots_to_look_at.saturating_sub(len);
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
        (TimerRound::new(now, ROUND, 0), now)
    }

    /// Visits all slices that fall due until `until`; returns the number of visits per slot and the length of the
    /// longest slice.
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
    fn every_slot_is_visited_once_per_round() {
        for slots in [1, 63, 64, 65, 500, 3200, 3201, 10_000, 100_000] {
            let (mut round, now) = start();
            let (turns, longest) = turns(&mut round, slots, now + ROUND);
            // Rounding up in each slice brings some visits forward, never back.
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
        assert_eq!(
            round.next_slice_at(100_000),
            now + 100 * ROUND + ROUND / SLICES_PER_ROUND_MAX as u32
        );
    }

    #[test]
    fn a_new_generation_starts_one_round_that_visits_every_tunnel() {
        let (mut round, now) = start();
        round.note_generation(0, 100);
        assert!(!round.is_for_all());
        // Also in the middle of a round.
        round.next_slice(now + ROUND / 2, 100).for_each(drop);
        for quarter in 3..=6 {
            round.note_generation(1, 100);
            assert!(round.is_for_all(), "quarter {quarter}");
            round
                .next_slice(now + quarter * ROUND / 4, 100)
                .for_each(drop);
        }
        round.note_generation(1, 100);
        assert!(!round.is_for_all());
    }

    #[test]
    fn the_round_is_clamped_to_its_limits() {
        let (_, now) = start();
        let next = |round| TimerRound::new(now, round, 0).next_slice_at(1);
        assert_eq!(next(Duration::ZERO), now + Duration::from_millis(1));
        assert_eq!(next(Duration::MAX), now + Duration::from_secs(1));
    }

    #[test]
    fn a_round_without_slots_is_empty() {
        let (mut round, now) = start();
        assert_eq!(round.next_slice(now + ROUND, 0).count(), 0);
    }

    #[test]
    fn visits_continue_where_they_were_when_slots_are_added() {
        let (mut round, now) = start();
        let first: Vec<_> = round.next_slice(now + ROUND / 2, 100).collect();
        assert_eq!((first[0], first.len()), (Slot(0), 50));
        let second: Vec<_> = round.next_slice(now + ROUND * 3 / 4, 200).collect();
        assert_eq!((second[0], second.len()), (Slot(50), 50));
    }
}

//! Loss, reordering and duplicates of one tunnel, by sequence number.
//!
//! Every packet sent gets a sequence number, which is looked up on arrival. Arrivals are a bitmap from the first gap
//! on, limited to [`WINDOW`] numbers (8 KiB); without reordering and loss it is one or two words. A gap that falls out
//! of the window is given up. Packets from before it can no longer be distinguished from duplicates: they are
//! [`Arrival::Late`] and count as lost.

use std::collections::VecDeque;

/// Number of sequence numbers behind the newest arrival that are remembered if there are gaps.
pub(crate) const WINDOW: u64 = 65_536;

const WORD_BITS: u64 = u64::BITS as u64;
const WINDOW_WORDS: usize = (WINDOW / WORD_BITS) as usize;

const _: () = assert!(WINDOW.is_multiple_of(WORD_BITS));

/// Classification of a received packet by its sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// First packet with this number; none with a higher one came before.
    InOrder,
    /// First packet with this number; one with a higher number came before (RFC 4737, section 3.3).
    Reordered,
    /// A packet with this number came before.
    Duplicate,
    /// Too far behind the newest to be classified.
    Late,
    /// Sent before counting started ([`SequenceTracker::start_counting`]).
    NotCounted,
    /// No packet with this number was sent.
    NeverSent,
}

/// Sequence numbers sent and received on one tunnel.
#[derive(Debug, Default)]
pub(crate) struct SequenceTracker {
    /// Number of the next packet to send.
    next_to_send: u64,
    /// First number that counts. Those below were sent in the warm-up.
    first_counted: u64,
    /// Highest number received plus one.
    next_expected: u64,
    /// Numbers below this one have been forgotten.
    forgotten_below: u64,
    /// Number of the first bit of `received`, a multiple of [`WORD_BITS`]. All numbers from `forgotten_below` up to
    /// this one were received.
    window_start: u64,
    received: VecDeque<u64>,
}

impl SequenceTracker {
    /// Returns the sequence number for a packet to send.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        let sequence = self.next_to_send;
        self.next_to_send += 1;
        sequence
    }

    /// Forgets everything sent so far: its packets become [`Arrival::NotCounted`].
    pub(crate) fn start_counting(&mut self) {
        self.first_counted = self.next_to_send;
        self.next_expected = self.next_to_send;
        self.forgotten_below = self.next_to_send;
        self.window_start = self.next_to_send / WORD_BITS * WORD_BITS;
        self.received.clear();
        let before = self.next_to_send - self.window_start;
        if before > 0 {
            // The numbers that share a word with the first counted one are not gaps.
            self.received.push_back((1 << before) - 1);
        }
    }

    /// Returns the sequence number of the next packet.
    pub(crate) fn next_to_send(&self) -> u64 {
        self.next_to_send
    }

    /// Classifies a received packet and remembers it.
    pub(crate) fn receive(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next_to_send {
            return Arrival::NeverSent;
        }
        if sequence < self.first_counted {
            return Arrival::NotCounted;
        }
        if sequence < self.forgotten_below {
            return Arrival::Late;
        }
        let Some(offset) = sequence.checked_sub(self.window_start) else {
            return Arrival::Duplicate;
        };
        let word = self.word_at(offset);
        let bit = 1 << (offset % WORD_BITS);
        if *word & bit != 0 {
            return Arrival::Duplicate;
        }
        *word |= bit;
        self.pass_complete_words();
        if sequence < self.next_expected {
            Arrival::Reordered
        } else {
            self.next_expected = sequence + 1;
            Arrival::InOrder
        }
    }

    /// Returns the word that holds the bit at `offset` of the window. If the window is too small, its start moves and
    /// the gaps that fall out are given up.
    fn word_at(&mut self, offset: u64) -> &mut u64 {
        let mut index = (offset / WORD_BITS) as usize;
        let excess = (index + 1).saturating_sub(WINDOW_WORDS);
        if excess > 0 {
            self.received.drain(..excess.min(self.received.len()));
            self.window_start += excess as u64 * WORD_BITS;
            self.forgotten_below = self.window_start;
            index -= excess;
        }
        if index >= self.received.len() {
            self.received.resize(index + 1, 0);
        }
        &mut self.received[index]
    }

    fn pass_complete_words(&mut self) {
        while self.received.front() == Some(&u64::MAX) {
            self.received.pop_front();
            self.window_start += WORD_BITS;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn tracker_after_sending(count: u64) -> SequenceTracker {
        let mut tracker = SequenceTracker::default();
        for _ in 0..count {
            tracker.next_sequence();
        }
        tracker
    }

    #[test]
    fn replies_in_order_need_one_word() {
        let mut tracker = SequenceTracker::default();
        for _ in 0..10 * WINDOW {
            let sequence = tracker.next_sequence();
            assert_eq!(tracker.receive(sequence), Arrival::InOrder);
            assert!(tracker.received.len() <= 1);
        }
    }

    #[test]
    fn old_duplicate_is_recognized_if_nothing_was_lost() {
        let mut tracker = tracker_after_sending(3 * WINDOW);
        for sequence in 0..3 * WINDOW {
            tracker.receive(sequence);
        }
        assert_eq!(tracker.receive(0), Arrival::Duplicate);
    }

    #[test]
    fn memory_is_bounded_under_heavy_loss() {
        let mut tracker = tracker_after_sending(100 * WINDOW);
        for sequence in [1, 999, 60_000, 10 * WINDOW, 100 * WINDOW - 1] {
            assert_eq!(tracker.receive(sequence), Arrival::InOrder);
            assert!(tracker.received.capacity() <= 2 * WINDOW_WORDS);
        }
        assert_eq!(tracker.receive(0), Arrival::Late);
    }

    #[test]
    fn unsent_number_is_reported() {
        let mut tracker = tracker_after_sending(3);
        assert_eq!(tracker.receive(3), Arrival::NeverSent);
        assert_eq!(tracker.receive(2), Arrival::InOrder);
    }

    #[test]
    fn replies_to_warm_up_packets_do_not_count() {
        let mut tracker = tracker_after_sending(100);
        tracker.receive(20);
        tracker.start_counting();
        assert_eq!(tracker.receive(99), Arrival::NotCounted);
        let first = tracker.next_sequence();
        assert_eq!(tracker.receive(first), Arrival::InOrder);
        assert_eq!(tracker.receive(first), Arrival::Duplicate);
    }

    /// The same classification with unbounded memory: a set of all numbers received.
    struct Model {
        sent: u64,
        first_counted: u64,
        received: BTreeSet<u64>,
        forgotten_below: u64,
    }

    impl Model {
        fn receive(&mut self, sequence: u64) -> Arrival {
            if sequence >= self.sent {
                return Arrival::NeverSent;
            }
            if sequence < self.first_counted {
                return Arrival::NotCounted;
            }
            if sequence < self.forgotten_below {
                return Arrival::Late;
            }
            let highest = self.received.last().copied();
            if !self.received.insert(sequence) {
                return Arrival::Duplicate;
            }
            // A gap before the last WINDOW_WORDS words is given up.
            let last_word = sequence.max(highest.unwrap_or(0)) / WORD_BITS;
            let window_start = (last_word + 1).saturating_sub(WINDOW_WORDS as u64) * WORD_BITS;
            let gap = (self.forgotten_below..window_start).find(|s| !self.received.contains(s));
            if gap.is_some() {
                self.forgotten_below = window_start;
            }
            match highest {
                Some(highest) if sequence < highest => Arrival::Reordered,
                _ => Arrival::InOrder,
            }
        }
    }

    /// Returns how far the next reply jumps in a simulated network, forwards or backwards.
    fn jump() -> impl Strategy<Value = i64> {
        prop_oneof![
            60 => Just(1_i64),
            20 => -70_i64..70,
            5 => -2000_i64..2000,
            1 => -(WINDOW as i64) - 200..WINDOW as i64 + 200,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn tracker_agrees_with_unbounded_memory(
            warm_up in 0_u64..200,
            jumps in proptest::collection::vec(jump(), 1..400),
        ) {
            let sent = warm_up + 4 * WINDOW;
            let mut tracker = tracker_after_sending(warm_up);
            tracker.start_counting();
            for _ in warm_up..sent {
                tracker.next_sequence();
            }
            let mut model = Model {
                sent, first_counted: warm_up, received: BTreeSet::new(), forgotten_below: warm_up,
            };
            let mut sequence = warm_up as i64;
            for jump in jumps {
                let wanted = model.receive(sequence as u64);
                prop_assert_eq!(tracker.receive(sequence as u64), wanted, "sequence {}", sequence);
                sequence = (sequence + jump).max(0);
            }
        }
    }
}

//! What was sent, and what came back.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// A datagram that came back.
#[derive(Clone, Copy, Debug)]
pub struct Reception {
    /// Its number.
    pub sequence: usize,
    /// When it came back.
    pub at: Instant,
}

/// Datagrams that an application sent, numbered from 0, and those that came back to it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// When each datagram was sent.
    pub sent: Vec<Instant>,
    /// The datagrams that came back, in order of arrival.
    pub received: Vec<Reception>,
}

impl Record {
    /// Returns the numbers of the datagrams that did not come back, as ranges.
    #[must_use]
    pub fn gaps(&self) -> Vec<RangeInclusive<usize>> {
        let received: BTreeSet<usize> = self.received.iter().map(|one| one.sequence).collect();
        let mut gaps: Vec<RangeInclusive<usize>> = Vec::new();
        for lost in (0..self.sent.len()).filter(|number| !received.contains(number)) {
            match gaps.last_mut() {
                Some(gap) if *gap.end() + 1 == lost => *gap = *gap.start()..=lost,
                _ => gaps.push(lost..=lost),
            }
        }
        gaps
    }

    /// Returns the number of datagrams that did not come back.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.gaps().into_iter().map(Iterator::count).sum()
    }

    /// Returns the number of datagrams that came back although they, or a later one, had come back before.
    #[must_use]
    pub fn out_of_order(&self) -> usize {
        let pairs = self.received.windows(2);
        pairs
            .filter(|pair| pair[1].sequence <= pair[0].sequence)
            .count()
    }

    /// Returns the longest time in which nothing came back, between two datagrams that did.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        let pairs = self.received.windows(2);
        pairs
            .map(|pair| pair[1].at - pair[0].at)
            .max()
            .unwrap_or_default()
    }

    /// Returns when the last datagram was sent that came back.
    #[must_use]
    pub fn last_served(&self) -> Option<Instant> {
        self.received
            .iter()
            .map(|one| self.sent[one.sequence])
            .max()
    }

    /// Returns the first datagram sent after `time` that came back.
    #[must_use]
    pub fn first_served_after(&self, time: Instant) -> Option<Reception> {
        let mut later = self.received.iter().copied();
        later.find(|one| self.sent[one.sequence] > time)
    }

    /// Checks that every datagram came back once, in the order in which they were sent.
    ///
    /// # Panics
    ///
    /// If one did not.
    pub fn assert_complete(&self) {
        assert!(self.gaps().is_empty(), "lost: {self}");
        assert_eq!(self.out_of_order(), 0, "out of order: {self}");
    }
}

/// One line with loss and times.
impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut round_trips: Vec<Duration> = self
            .received
            .iter()
            .map(|one| one.at - self.sent[one.sequence])
            .collect();
        round_trips.sort_unstable();
        let quantile = |numerator: usize, denominator: usize| {
            let index = round_trips.len().saturating_sub(1) * numerator / denominator;
            round_trips.get(index).copied().unwrap_or_default()
        };
        let took = match (self.sent.first(), self.received.last()) {
            (Some(first), Some(last)) => last.at - *first,
            _ => Duration::ZERO,
        };
        write!(
            formatter,
            "{} of {} back in {took:.1?}, lost {} in {} gaps, longest silence {:.1?}, round trip {:.1?} (median) \
             {:.1?} (p99)",
            self.received.len(),
            self.sent.len(),
            self.lost(),
            self.gaps().len(),
            self.longest_silence(),
            quantile(1, 2),
            quantile(99, 100),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sent: usize, received: &[usize]) -> Record {
        let start = Instant::now();
        let time = |number: usize| start + Duration::from_millis(number as u64);
        Record {
            sent: (0..sent).map(time).collect(),
            received: received
                .iter()
                .map(|&sequence| Reception {
                    sequence,
                    at: time(sequence) + Duration::from_millis(10),
                })
                .collect(),
        }
    }

    #[test]
    fn datagrams_that_did_not_come_back_are_gaps() {
        let record = record(8, &[1, 2, 5]);
        assert_eq!(record.gaps(), [0..=0, 3..=4, 6..=7]);
        assert_eq!(record.lost(), 5);
        assert_eq!(record.longest_silence(), Duration::from_millis(3));
        assert_eq!(record.last_served(), Some(record.sent[5]));
        let served = record.first_served_after(record.sent[2]);
        assert_eq!(served.unwrap().sequence, 5);
    }

    #[test]
    fn duplicates_and_late_datagrams_are_out_of_order() {
        assert_eq!(record(3, &[0, 1, 2]).out_of_order(), 0);
        assert_eq!(record(3, &[0, 1, 1, 2]).out_of_order(), 1);
        assert_eq!(record(3, &[0, 2, 1]).out_of_order(), 1);
    }

    #[test]
    #[should_panic(expected = "lost: 2 of 3 back")]
    fn a_record_with_a_gap_is_not_complete() {
        record(3, &[0, 2]).assert_complete();
    }
}

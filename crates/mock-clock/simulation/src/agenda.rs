//! Queue of future events.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Future events in the order of their time; events of the same time in the order in which they were added.
pub(crate) struct Agenda<E> {
    entries: BinaryHeap<Entry<E>>,
    added: u64,
}

struct Entry<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Agenda {
            entries: BinaryHeap::new(),
            added: 0,
        }
    }

    pub(crate) fn add(&mut self, at: Duration, event: E) {
        self.added += 1;
        self.entries.push(Entry {
            at,
            number: self.added,
            event,
        });
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.entries.peek().map(|entry| entry.at)
    }

    pub(crate) fn take_next(&mut self) -> Option<E> {
        self.entries.pop().map(|entry| entry.event)
    }
}

/// Reversed, because the heap yields the greatest entry first.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_addition() {
        let mut agenda = Agenda::new();
        for (millis, event) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b')] {
            agenda.add(Duration::from_millis(millis), event);
        }
        assert_eq!(agenda.next_at(), Some(Duration::from_millis(1)));
        let order: String = std::iter::from_fn(|| agenda.take_next()).collect();
        assert_eq!(order, "abcd");
    }
}

//! A queue that gathers datagrams into trains.
//!
//! A train is a run of datagrams to one destination that can be sent as one buffer: all have the same
//! size, except that the last may be shorter. Only the newest train of a destination grows, and trains
//! are sent in the order in which they began. So the datagrams of one destination stay in order;
//! datagrams of different destinations can be reordered.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use slab::Slab;

/// Maximum number of datagrams in a train: the limit of kernels before 6.9 (UDP_MAX_SEGMENTS).
pub(crate) const TRAIN_DATAGRAMS_MAX: usize = 64;

/// Maximum number of bytes in a train: the UDP payload that fits the IP length field, which in IPv4
/// includes the IP header.
const TRAIN_BYTES_MAX_IPV4: usize = 65_535 - 20 - 8;
const TRAIN_BYTES_MAX_IPV6: usize = 65_535 - 8;

/// Destination address and source address of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) to: SocketAddr,
    pub(crate) from_ip: Option<IpAddr>,
}

/// A run of datagrams to one destination.
#[derive(Debug)]
pub(crate) struct Train {
    pub(crate) destination: Destination,
    /// The size of all datagrams but the last, in bytes.
    pub(crate) segment_size: usize,
    pub(crate) datagrams: usize,
    bytes: usize,
    /// No datagram may follow, because the last one was shorter or the train is old.
    closed: bool,
    /// Time of the first flush that left the train behind.
    waiting_since: Option<Instant>,
    pub(crate) sending: Sending,
    pub(crate) source: Source,
    /// The train was offered again once, after a report about an earlier datagram.
    pub(crate) retried: bool,
    first: usize,
    last: usize,
}

/// How a train is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// As one buffer.
    Whole,
    /// Datagram by datagram, because it was too long as a whole.
    Singly,
    /// Datagram by datagram, because the kernel returned EINVAL for the train. If its first datagram
    /// can be sent alone, the kernel or route does not support trains.
    SinglyOnTrial,
}

/// Source address with which a train is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// That of its [`Destination`].
    Given,
    /// The kernel's choice, because the kernel refused the given one with this error. If the train is sent now, the
    /// given one was the cause.
    ChosenOnTrial { errno: i32 },
    /// The kernel's choice.
    Chosen,
}

#[derive(Debug)]
struct Queued<B> {
    datagram: B,
    next: Option<usize>,
}

/// Trains in the order in which they began.
#[derive(Debug)]
pub(crate) struct Trains<B> {
    datagrams: Slab<Queued<B>>,
    trains: VecDeque<Train>,
    /// Number of the front train; trains are numbered from the first one ever.
    front_number: u64,
    /// Number of the newest train of each destination in the queue.
    newest: HashMap<Destination, u64, ahash::RandomState>,
    /// Number of the train of the latest datagram, which is often also the next one's.
    latest: u64,
    /// Number of the first train that [`Trains::close_older`] has not closed.
    first_young: u64,
    bytes: usize,
}

impl<B: AsRef<[u8]>> Trains<B> {
    pub(crate) fn new() -> Self {
        Self {
            datagrams: Slab::new(),
            trains: VecDeque::new(),
            front_number: 0,
            newest: HashMap::default(),
            latest: 0,
            first_young: 0,
            bytes: 0,
        }
    }

    /// Returns the number of datagrams in all trains.
    pub(crate) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Returns the number of bytes in all datagrams.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, destination: Destination, datagram: B) {
        let size = datagram.as_ref().len();
        let key = self.datagrams.insert(Queued {
            datagram,
            next: None,
        });
        self.bytes += size;

        // Most datagrams follow one to the same destination.
        if let Some(train) = self.train_mut(self.latest)
            && train.destination == destination
            && train.takes(size)
        {
            let last = train.append(key, size);
            return self.link(last, key);
        }
        let next = self.front_number + self.trains.len() as u64;
        let newest = match self.newest.entry(destination) {
            Entry::Occupied(newest) => newest.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(next),
        };
        let joined = train_at(&mut self.trains, self.front_number, *newest)
            .filter(|train| train.takes(size))
            .map(|train| train.append(key, size));
        match joined {
            Some(last) => {
                self.latest = *newest;
                self.link(last, key);
            }
            None => {
                *newest = next;
                self.latest = next;
                self.trains.push_back(Train::new(destination, key, size));
            }
        }
    }

    /// Links the datagram at `key` after the one at `last`.
    fn link(&mut self, last: usize, key: usize) {
        if let Some(queued) = self.datagrams.get_mut(last) {
            queued.next = Some(key);
        }
    }

    /// Returns the trains, front first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Train> {
        self.trains.iter()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Train> {
        self.trains.front_mut()
    }

    /// Returns the bytes of a train's datagrams, in order.
    pub(crate) fn datagrams_of(&self, train: &Train) -> impl Iterator<Item = &[u8]> {
        let first = self.datagrams.get(train.first);
        std::iter::successors(first, |queued| self.datagrams.get(queued.next?))
            .map(|queued| queued.datagram.as_ref())
    }

    /// Removes the first datagram of the front train, and the train with its last datagram.
    pub(crate) fn pop_front(&mut self) -> Option<B> {
        let train = self.trains.front_mut()?;
        let queued = self.datagrams.try_remove(train.first)?;
        let size = queued.datagram.as_ref().len();
        self.bytes -= size;
        match queued.next {
            Some(next) => {
                train.first = next;
                train.datagrams -= 1;
                train.bytes -= size;
            }
            None => {
                if let Entry::Occupied(newest) = self.newest.entry(train.destination)
                    && *newest.get() == self.front_number
                {
                    newest.remove();
                }
                self.trains.pop_front();
                self.front_number += 1;
            }
        }
        Some(queued.datagram)
    }

    /// Notes that all trains are left behind by a flush at `now`.
    pub(crate) fn mark_waiting(&mut self, now: Instant) {
        let new = self.trains.iter_mut().rev();
        for train in new.take_while(|train| train.waiting_since.is_none()) {
            train.waiting_since = Some(now);
        }
    }

    /// Ends the growth of trains that have waited for longer than `age`.
    pub(crate) fn close_older(&mut self, now: Instant, age: Duration) {
        let mut number = self.first_young.max(self.front_number);
        while let Some(train) = self.train_mut(number)
            && train.age(now) > age
        {
            train.closed = true;
            number += 1;
        }
        self.first_young = number;
    }

    /// Returns true if no destination is stored.
    #[cfg(test)]
    pub(crate) fn has_no_destination(&self) -> bool {
        self.newest.is_empty() && self.trains.is_empty()
    }

    fn train_mut(&mut self, number: u64) -> Option<&mut Train> {
        train_at(&mut self.trains, self.front_number, number)
    }
}

fn train_at(trains: &mut VecDeque<Train>, front_number: u64, number: u64) -> Option<&mut Train> {
    let index = number.checked_sub(front_number)?;
    trains.get_mut(usize::try_from(index).ok()?)
}

impl Train {
    /// Creates a train of the datagram at `key`.
    fn new(destination: Destination, key: usize, size: usize) -> Self {
        Self {
            destination,
            segment_size: size,
            datagrams: 1,
            bytes: size,
            closed: size == 0,
            waiting_since: None,
            sending: Sending::Whole,
            source: Source::Given,
            retried: false,
            first: key,
            last: key,
        }
    }

    /// Returns the time for which the train has waited, 0 before a flush has left it behind.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.waiting_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Appends the datagram at `key`; returns the key of the previous last one.
    fn append(&mut self, key: usize, size: usize) -> usize {
        self.datagrams += 1;
        self.bytes += size;
        self.closed = size < self.segment_size;
        std::mem::replace(&mut self.last, key)
    }

    fn takes(&self, size: usize) -> bool {
        let bytes_max = match self.destination.to {
            SocketAddr::V4(_) => TRAIN_BYTES_MAX_IPV4,
            SocketAddr::V6(_) => TRAIN_BYTES_MAX_IPV6,
        };
        !self.closed
            && (1..=self.segment_size).contains(&size)
            && self.datagrams < TRAIN_DATAGRAMS_MAX
            && self.bytes + size <= bytes_max
    }
}

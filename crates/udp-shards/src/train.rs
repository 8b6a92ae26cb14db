//! Datagrams in a queue, gathered into trains as they come.
//!
//! A train is a run of datagrams to one destination that may leave as one buffer: all of one size,
//! except that the last may be shorter. Only the newest train of a destination takes more, and
//! trains leave in the order in which they began, so a destination's datagrams keep their order
//! while those of different destinations may pass each other.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

/// The most datagrams in a train: the limit of kernels before 6.9 (UDP_MAX_SEGMENTS).
pub(crate) const TRAIN_DATAGRAMS_MAX: usize = 64;

/// The most bytes in a train: what the IP length field leaves for UDP payload. In IPv4 it counts
/// the IP header too.
const TRAIN_BYTES_MAX_IPV4: usize = 65_535 - 20 - 8;
const TRAIN_BYTES_MAX_IPV6: usize = 65_535 - 8;

/// Where a datagram goes, and from where.
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
    /// No more datagrams may follow: the last one was shorter.
    closed: bool,
    pub(crate) sending: Sending,
    /// The kernel's report on an earlier datagram was taken for the answer once already.
    pub(crate) retried: bool,
    first: usize,
    last: usize,
}

/// How a train leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// As one buffer.
    Whole,
    /// Datagram by datagram: it was too long as a whole.
    Singly,
    /// Datagram by datagram: the kernel called it invalid. Whether it was because it was a train
    /// shows when its first datagram is sent alone.
    SinglyOnTrial,
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
    /// Numbers count trains from the first one ever; this is the front one's.
    front_number: u64,
    /// The newest train of each destination in the queue.
    newest: HashMap<Destination, u64, ahash::RandomState>,
    /// The train that took the latest datagram: often the next one's, too.
    latest: u64,
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
            bytes: 0,
        }
    }

    /// Datagrams in all trains.
    pub(crate) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Bytes in all datagrams.
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

    /// Lets the datagram at `key` follow the one at `last`.
    fn link(&mut self, last: usize, key: usize) {
        if let Some(queued) = self.datagrams.get_mut(last) {
            queued.next = Some(key);
        }
    }

    /// The trains, front first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Train> {
        self.trains.iter()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Train> {
        self.trains.front_mut()
    }

    /// The bytes of a train's datagrams, in order.
    pub(crate) fn datagrams_of(&self, train: &Train) -> impl Iterator<Item = &[u8]> {
        let first = self.datagrams.get(train.first);
        std::iter::successors(first, |queued| self.datagrams.get(queued.next?))
            .map(|queued| queued.datagram.as_ref())
    }

    /// Takes the first datagram of the front train, and the train with its last one.
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

    /// Whether no destination is remembered.
    #[cfg(test)]
    pub(crate) fn is_forgotten(&self) -> bool {
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
    /// A train of one datagram, at `key`.
    fn new(destination: Destination, key: usize, size: usize) -> Self {
        Self {
            destination,
            segment_size: size,
            datagrams: 1,
            bytes: size,
            closed: size == 0,
            sending: Sending::Whole,
            retried: false,
            first: key,
            last: key,
        }
    }

    /// Takes a datagram, at `key`; returns where the last one before it is.
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

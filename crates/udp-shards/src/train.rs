//! Datagrams in a queue, gathered into trains as they come.
//!
//! A train is a run of datagrams to one destination that may leave as one buffer: all of one size,
//! except that the last may be shorter. Only the newest train of a destination takes more, and
//! trains leave in the order in which they began, so a destination's datagrams keep their order
//! while those of different destinations may pass each other.

use std::collections::{HashMap, VecDeque};
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

        let number = self.newest_of(&destination);
        if let Some(train) = number.and_then(|number| self.train_mut(number))
            && train.takes(size)
        {
            let last = std::mem::replace(&mut train.last, key);
            train.datagrams += 1;
            train.bytes += size;
            train.closed = size < train.segment_size;
            if let Some(queued) = self.datagrams.get_mut(last) {
                queued.next = Some(key);
            }
            self.latest = number.unwrap_or_default();
            return;
        }
        self.latest = self.front_number + self.trains.len() as u64;
        self.newest.insert(destination, self.latest);
        self.trains.push_back(Train {
            destination,
            segment_size: size,
            datagrams: 1,
            bytes: size,
            closed: size == 0,
            sending: Sending::Whole,
            retried: false,
            first: key,
            last: key,
        });
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
                let destination = train.destination;
                if self.newest.get(&destination) == Some(&self.front_number) {
                    self.newest.remove(&destination);
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

    fn newest_of(&mut self, destination: &Destination) -> Option<u64> {
        let latest = self.latest;
        match self.train_mut(latest) {
            Some(train) if train.destination == *destination => Some(latest),
            _ => self.newest.get(destination).copied(),
        }
    }

    fn train_mut(&mut self, number: u64) -> Option<&mut Train> {
        let index = number.checked_sub(self.front_number)?;
        self.trains.get_mut(usize::try_from(index).ok()?)
    }
}

impl Train {
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

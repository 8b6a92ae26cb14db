//! Fields of a tunnel that change with every packet.

use std::time::Instant;

use crate::usage::Traffic;

/// Times and counters that a packet updates together, in one cache line, so that the counters cost no further line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Activity {
    /// Time of the peer's last authenticated message; at first the creation time.
    pub(crate) heard_at: Instant,
    /// Time of the last data in either direction; at first the creation time.
    pub(crate) data_at: Instant,
    /// Counted since the last usage record.
    pub(crate) traffic: Traffic,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Activity {
            heard_at: now,
            data_at: now,
            traffic: Traffic::default(),
        }
    }

    /// Counts a packet from the peer.
    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.traffic.incoming_packets += 1;
        self.traffic.incoming_bytes += bytes as u64;
    }

    /// Counts a packet to the peer.
    pub(crate) fn count_sent(&mut self, bytes: usize) {
        self.traffic.outgoing_packets += 1;
        self.traffic.outgoing_bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_is_one_cache_line() {
        assert_eq!(size_of::<Activity>(), 64);
    }
}

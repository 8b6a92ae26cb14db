//! Counters of the workers.
//!
//! A worker counts in a plain [`Counters`] that only it can see, and copies it into its published counters at the end of
//! a turn. It is the only writer, so no atomic is contended, and a reader is at most one turn behind.
//!
//! The counters balance. Every received datagram has exactly one fate, and in every snapshot of a worker
//!
//! ```text
//! received + taken over = delivered + sent + dropped + handed over + in flight
//! ```
//!
//! *Delivered* datagrams were consumed by the gateway (handshakes, keepalives, cookie replies, everything in the sink);
//! *sent* datagrams left towards SCION or into a tunnel; *handed over* datagrams went to another worker, which *took*
//! them over; *in flight* datagrams wait in a queue of the worker. Datagrams made by the gateway (handshake messages,
//! keepalives, SCMP errors) are `originated` and not part of the sum.
//!
//! Each counter is declared once, as a time series of a metric; the metrics and their reference, docs/METRICS.md, are
//! derived from that. The shard's counters are published as one value and exported by `metrics/shard.rs`.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use snaptun::ShardCounters;

use crate::drop_reason::{DropReason, QueueLoss};

/// A metric: time series with a common name.
pub(crate) struct Family {
    /// Without the suffix `_total` of counters.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) series: &'static [Series],
}

/// The type of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// A time series, one per worker.
pub(crate) struct Series {
    /// Labels besides `worker`.
    pub(crate) labels: &'static [(&'static str, &'static str)],
    /// What it counts; empty if the help of the metric says it.
    pub(crate) help: &'static str,
    pub(crate) value: fn(&Counters) -> u64,
}

macro_rules! counters {
    ($(
        $kind:ident $metric:literal, $help:literal {
            $($(#[doc = $doc:literal])* $counter:ident $(: $label:ident = $value:literal)?,)+
        }
    )+) => {
        /// All counters of one worker. Packets are datagrams after GRO has been undone.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Counters {
            $($(
                $(#[doc = $doc])*
                #[doc = ""]
                #[doc = concat!("`", $metric, "`: ", $help)]
                pub $counter: u64,
            )+)+
            /// Counters of the shard.
            pub shard: ShardCounters,
            /// Dropped datagrams, indexed by [`DropReason::index`].
            pub dropped: [u64; DropReason::COUNT],
        }

        /// The metrics of the counters that a worker keeps itself, without drops.
        pub(crate) const FAMILIES: &[Family] = &[$(
            Family {
                name: $metric,
                help: $help,
                kind: Kind::$kind,
                series: &[$(
                    Series {
                        labels: &[$((stringify!($label), $value))?],
                        help: concat!($($doc),*),
                        value: |counters| counters.$counter,
                    },
                )+],
            },
        )+];

        impl Counters {
            /// Number of counters that the worker keeps itself, without drops.
            const OWN: usize = [$($(stringify!($counter)),+),+].len();

            fn to_words(&self) -> [u64; Self::WORDS] {
                let mut words = [0; Self::WORDS];
                let (own, rest) = words.split_at_mut(Self::OWN);
                let (shard, dropped) = rest.split_at_mut(ShardCounters::COUNT);
                own.copy_from_slice(&[$($(self.$counter),+),+]);
                shard.copy_from_slice(&self.shard.to_array());
                dropped.copy_from_slice(&self.dropped);
                words
            }

            fn from_words(words: &[u64; Self::WORDS]) -> Self {
                let mut words = words.iter().copied();
                let mut next = || words.next().unwrap_or_default();
                Self {
                    $($($counter: next(),)+)+
                    shard: ShardCounters::from_array(std::array::from_fn(|_| next())),
                    dropped: std::array::from_fn(|_| next()),
                }
            }
        }
    };
}

counters! {
    Counter "snapgate_received_packets", "Datagrams received." {
        /// From tunnels.
        received_incoming_packets: direction = "incoming",
        /// At the internal address, from SCION.
        received_outgoing_packets: direction = "outgoing",
    }
    Counter "snapgate_received_bytes", "Bytes of UDP payload received." {
        /// From tunnels.
        received_incoming_bytes: direction = "incoming",
        /// At the internal address, from SCION.
        received_outgoing_bytes: direction = "outgoing",
    }
    Counter "snapgate_delivered_packets", "Datagrams consumed by the gateway." {
        /// Handshake initiations and responses that were accepted.
        delivered_handshakes: kind = "handshake",
        /// Handshake messages answered with a cookie reply, and cookie replies received.
        delivered_cookies: kind = "cookie",
        /// Keepalives received.
        delivered_keepalives: kind = "keepalive",
        /// Packets that reached the sink (forward mode `sink`).
        delivered_to_sink: kind = "sink",
    }
    Counter "snapgate_sent_packets", "Received packets that were sent on." {
        /// Towards SCION: to routers and to hosts of the AS.
        sent_incoming_packets: direction = "incoming",
        /// Into tunnels: from SCION, from another tunnel, or echoed.
        sent_outgoing_packets: direction = "outgoing",
    }
    Counter "snapgate_sent_bytes", "Bytes of UDP payload of the packets sent on." {
        /// Towards SCION.
        sent_incoming_bytes: direction = "incoming",
        /// Into tunnels.
        sent_outgoing_bytes: direction = "outgoing",
    }
    Counter "snapgate_originated_packets",
        "Datagrams made by the gateway: handshake messages, cookie replies, keepalives, SCMP errors." {
        /// Sent.
        originated_sent: result = "sent",
        /// Not sent, because the queue was full or the kernel refused.
        originated_lost: result = "lost",
        /// SCMP errors not made, because the tunnel or the worker was over its limit.
        originated_limited: result = "limited",
    }
    Counter "snapgate_handover_packets",
        "Datagrams that arrived at a worker that does not own their tunnel; 0 with kernel dispatch." {
        handovers,
    }
    Counter "snapgate_mailbox_packets", "Datagrams passed between workers: handovers and hairpins." {
        /// Put into other workers' mailboxes.
        given_packets: side = "given",
        /// Taken out of this worker's mailbox.
        taken_packets: side = "taken",
    }
    Counter "snapgate_hairpin_packets", "Packets from a tunnel to a destination in the local AS." {
        /// To a tunnel of the same worker.
        hairpins_within_worker: between = "same_worker",
        /// Handed to the worker that owns the tunnel of the destination.
        hairpins_between_workers: between = "workers",
    }
    Counter "snapgate_kernel_dropped_packets",
        "Datagrams dropped by the kernel, by socket; a train counts as one." {
        /// Receive buffer full; with user dispatch also datagrams that are too short for a SNAPtun message.
        kernel_drops_data: socket = "data",
        /// Receive buffer full.
        kernel_drops_handshake: socket = "handshake",
        /// Receive buffer full; this socket receives garbage, and trains that begin with something other than data.
        kernel_drops_mixed: socket = "mixed",
        /// Receive buffer full.
        kernel_drops_upstream: socket = "upstream",
        /// Too short for a SNAPtun message, or unreadable headers; counted by worker 0, with kernel dispatch only.
        kernel_drops_garbage: socket = "garbage",
    }
    Counter "snapgate_usage_records", "Records of the traffic in tunnels, for accounting." {
        /// Passed to the accounting log, or to an embedding program.
        usage_records_queued: result = "queued",
        /// Lost, because the queue was full.
        usage_records_lost: result = "lost",
    }
    Counter "snapgate_turns", "Turns of the worker's loop; at least one a second unless the worker hangs." {
        turns,
    }
    Counter "snapgate_send_lanes_failed",
        "Sockets for local hosts that could not be opened, so that packets shared the worker's own." {
        send_lanes_failed,
    }
    Gauge "snapgate_send_lanes",
        "Sockets towards SCION: the worker's own, one per router, and one per local host that is sent to, at most 256." {
        send_lanes,
    }
    Gauge "snapgate_unresolved_hosts",
        "Hosts in local prefixes to which nothing is sent for 1 to 8 s, because earlier packets did not leave." {
        unresolved_hosts,
    }
    Gauge "snapgate_destinations_without_gso",
        "IP addresses that get single datagrams because the kernel refused a train to them in the last minute." {
        destinations_without_gso,
    }
    Gauge "snapgate_tunnels", "Live tunnels, half-open ones included." {
        tunnels,
    }
    Gauge "snapgate_half_open_tunnels", "Tunnels that their clients have not used yet." {
        half_open_tunnels,
    }
    Gauge "snapgate_remembered_tunnels",
        "Tunnels of the previous process whose clients have not sent anything yet." {
        remembered_tunnels,
    }
    Gauge "snapgate_lapsed_tunnels",
        "Tunnels removed because a grant ended, or reopened, whose clients have not been served again; forgotten after \
         540 s." {
        lapsed_tunnels,
    }
    Gauge "snapgate_in_flight_packets", "Received packets that wait in a queue." {
        /// For worker time for handshakes.
        waiting_handshakes: queue = "handshake",
        /// For the session of a tunnel.
        waiting_packets: queue = "session",
        /// For a socket to become writable.
        queued_packets: queue = "send",
    }
}

impl Counters {
    const WORDS: usize = Self::OWN + ShardCounters::COUNT + DropReason::COUNT;

    /// Counts `packets` datagrams as dropped for `reason`.
    pub fn drop_packets(&mut self, reason: DropReason, packets: u64) {
        self.dropped[reason.index()] += packets;
    }

    /// Stores the counters of the shard; packets that it discarded count as dropped.
    pub(crate) fn set_shard(&mut self, shard: ShardCounters) {
        for (loss, discarded) in [
            (QueueLoss::TunnelExpired, shard.waiting_discarded_expired),
            (QueueLoss::TunnelRevoked, shard.waiting_discarded_revoked),
            (
                QueueLoss::TunnelDisplaced,
                shard.waiting_discarded_displaced,
            ),
        ] {
            self.dropped[DropReason::Queue(loss).index()] = discarded;
        }
        self.shard = shard;
    }

    /// Returns the number of received datagrams.
    pub fn received(&self) -> u64 {
        self.received_incoming_packets + self.received_outgoing_packets
    }

    /// Returns the number of datagrams consumed by the gateway.
    pub fn delivered(&self) -> u64 {
        self.delivered_handshakes
            + self.delivered_cookies
            + self.delivered_keepalives
            + self.delivered_to_sink
    }

    /// Returns the number of received datagrams that were sent on.
    pub fn sent(&self) -> u64 {
        self.sent_incoming_packets + self.sent_outgoing_packets
    }

    /// Returns the number of dropped datagrams, for any reason.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Returns the number of datagrams that wait in a queue.
    pub fn in_flight(&self) -> u64 {
        self.waiting_handshakes + self.waiting_packets + self.queued_packets
    }

    /// Returns true if every received datagram is accounted for.
    pub fn balance(&self) -> bool {
        let received = self.received() + self.taken_packets;
        received
            == self.delivered()
                + self.sent()
                + self.total_dropped()
                + self.given_packets
                + self.in_flight()
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        let mut words = self.to_words();
        for (word, more) in words.iter_mut().zip(other.to_words()) {
            *word += more;
        }
        *self = Self::from_words(&words);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::from_words(&[0; Self::WORDS])
    }
}

/// Counters of one worker, as seen by other threads.
///
/// A sequence lock with one writer: the worker never waits, and a reader that overlaps with a write reads again, so
/// every snapshot is of the end of a turn. Aligned to two cache lines, the unit in which x86-64 prefetches, so that no
/// two workers write to the same unit.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Published {
    /// Odd while the words are being written.
    sequence: AtomicU64,
    words: [AtomicU64; Counters::WORDS],
}

impl Published {
    /// Creates counters that are all zero.
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; Counters::WORDS],
        }
    }

    /// Publishes `counters`. Called only by the owning worker, or after its thread was joined.
    pub(crate) fn publish(&self, counters: &Counters) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // A thread that sees one of the words below also sees the odd number above.
        fence(Ordering::Release);
        for (published, word) in self.words.iter().zip(counters.to_words()) {
            published.store(word, Ordering::Relaxed);
        }
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// Returns the counters at the end of the worker's last turn.
    pub(crate) fn snapshot(&self) -> Counters {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let words = std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let after = self.sequence.load(Ordering::Relaxed);
            if before == after && before.is_multiple_of(2) {
                return Counters::from_words(&words);
            }
            std::hint::spin_loop();
        }
    }
}

impl Default for Published {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_counters_are_read_back() {
        let mut counters = Counters {
            received_incoming_packets: 7,
            queued_packets: 3,
            shard: ShardCounters {
                tunnels_moved: 4,
                ..ShardCounters::default()
            },
            ..Default::default()
        };
        let reason = DropReason::Route(crate::drop_reason::RouteError::NoTunnel);
        counters.drop_packets(reason, 5);

        let published = Published::new();
        published.publish(&counters);

        assert_eq!(published.snapshot(), counters);
        assert_eq!(published.snapshot().total_dropped(), 5);
    }

    #[test]
    fn adding_sums_every_word() {
        let one = Counters::from_words(&std::array::from_fn(|i| i as u64));
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!(
            sum,
            Counters::from_words(&std::array::from_fn(|i| 2 * i as u64))
        );
    }

    #[test]
    fn a_snapshot_never_shows_half_a_turn() {
        let published = Published::new();
        let all = |value| Counters::from_words(&[value; Counters::WORDS]);
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=20_000).for_each(|turn| published.publish(&all(turn))));
            loop {
                let snapshot = published.snapshot();
                assert_eq!(snapshot, all(snapshot.turns));
                if snapshot.turns == 20_000 {
                    break;
                }
            }
        });
    }

    #[test]
    fn no_two_workers_share_a_cache_line() {
        const { assert!(align_of::<Published>() == 128) };
        const { assert!(size_of::<Published>().is_multiple_of(128)) };
    }
}

//! What a worker counts, and how others read it.
//!
//! A worker counts in a plain [`Counters`] that only it can see and copies it into its
//! [`Published`] counters at the end of a turn. Nobody else writes there, so no atomic is ever
//! contended, and a reader is at most one turn behind.
//!
//! The counters balance. Every datagram that a worker received has exactly one fate, and in every
//! snapshot of a worker
//!
//! ```text
//! received + taken over = delivered + sent + dropped + handed over + in flight
//! ```
//!
//! *Delivered* datagrams were meant for the gateway itself (handshakes, keepalives, cookie replies,
//! everything in the sink); *sent* ones left again towards SCION or into a tunnel; *handed over*
//! ones went to another worker, which *took* them over; *in flight* are those that wait in a queue
//! of the worker. Datagrams that the gateway made itself (handshake messages, keepalives, SCMP
//! errors) are `originated`, and stand outside of the sum.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::drop_reason::DropReason;

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Everything one worker counts. All packets are datagrams after GRO has been undone.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: u64,)+
            /// Dropped datagrams, indexed by [`DropReason::index`].
            pub dropped: [u64; DropReason::COUNT],
        }

        impl Counters {
            const SCALARS: usize = [$(stringify!($name)),+].len();

            fn to_words(&self) -> [u64; Self::WORDS] {
                let mut words = [0; Self::WORDS];
                let (scalars, dropped) = words.split_at_mut(Self::SCALARS);
                scalars.copy_from_slice(&[$(self.$name),+]);
                dropped.copy_from_slice(&self.dropped);
                words
            }

            fn from_words(words: &[u64; Self::WORDS]) -> Self {
                let (scalars, drops) = words.split_at(Self::SCALARS);
                let mut scalars = scalars.iter().copied();
                let mut dropped = [0; DropReason::COUNT];
                dropped.copy_from_slice(drops);
                Self { $($name: scalars.next().unwrap_or_default(),)+ dropped }
            }
        }
    };
}

counters! {
    /// Datagrams received on the tunnel sockets.
    received_incoming_packets,
    /// Bytes of UDP payload received on the tunnel sockets.
    received_incoming_bytes,
    /// Datagrams received on the upstream socket.
    received_outgoing_packets,
    /// Bytes of UDP payload received on the upstream socket.
    received_outgoing_bytes,
    /// Handshake initiations and responses that the shard accepted.
    delivered_handshakes,
    /// Handshake messages answered with a cookie reply, and cookie replies received.
    delivered_cookies,
    /// Keepalives received.
    delivered_keepalives,
    /// Packets that reached the sink (`--forward sink`).
    delivered_to_sink,
    /// Packets sent towards SCION: to routers and to local endhosts.
    sent_incoming_packets,
    /// Bytes of UDP payload sent towards SCION.
    sent_incoming_bytes,
    /// Packets sent into tunnels: from SCION, from a hairpin or from the echo.
    sent_outgoing_packets,
    /// Bytes of UDP payload sent into tunnels.
    sent_outgoing_bytes,
    /// Datagrams that the gateway made itself and sent: handshakes, cookies, keepalives, SCMP.
    originated_sent,
    /// Datagrams that the gateway made itself and could not send.
    originated_lost,
    /// SCMP errors that the gateway did not send, because the tunnel or the worker had too many.
    originated_limited,
    /// Datagrams that arrived at a worker that does not own their tunnel and were handed over.
    handovers,
    /// Datagrams put into other workers' mailboxes: handovers and hairpins.
    given_packets,
    /// Datagrams taken out of this worker's mailbox.
    taken_packets,
    /// Hairpins to a tunnel of the same worker.
    hairpins_within_worker,
    /// Hairpins handed to the worker that owns the destination's tunnel.
    hairpins_between_workers,
    /// Tunnels created by a handshake from an unknown address.
    tunnels_created,
    /// Tunnels removed because WireGuard's timers expired them.
    tunnels_expired,
    /// Tunnels removed because their identity is no longer authorized.
    tunnels_revoked,
    /// Tunnels removed because another client has their address now.
    tunnels_replaced,
    /// Tunnels removed because there were too many.
    tunnels_evicted,
    /// Tunnels removed because their identity uses a newer one.
    tunnels_moved,
    /// Handshake initiations answered.
    handshakes_answered,
    /// Handshakes begun by the gateway.
    handshakes_initiated,
    /// Handshakes begun by the gateway and completed.
    handshakes_completed,
    /// Handshake messages admitted because they showed a cookie.
    handshakes_verified,
    /// Initiations answered beyond all limits, for clients of tunnels in use.
    handshakes_beyond_limits,
    /// Handshakes begun because initiations from a client's address were refused unopened.
    handshakes_under_pressure,
    /// Handshakes begun with clients of the process before, or whose grant ended and returned.
    restart_handshakes_started,
    /// Of those, completed.
    restart_handshakes_completed,
    /// Times that one was put off, because they or the tunnels would have been too many.
    restart_handshakes_deferred,
    /// Cookie replies sent because an address was over its limit of handshakes without a cookie.
    cookies_demanded_address_limit,
    /// Cookie replies sent because the worker was over its limit of handshakes without a cookie.
    cookies_demanded_total_limit,
    /// Cookie replies sent to clients that want the address of a silent tunnel.
    cookies_demanded_takeover,
    /// Seconds in which the worker was over its limit of handshakes without a cookie.
    overloaded_seconds,
    /// Datagrams the kernel dropped because a data socket's buffer was full, and with user dispatch
    /// also those that can hold no SNAPtun message.
    kernel_drops_data,
    /// Datagrams the kernel dropped because a handshake socket's buffer was full.
    kernel_drops_handshake,
    /// Datagrams the kernel dropped because a mixed socket's buffer was full.
    kernel_drops_mixed,
    /// Datagrams the kernel dropped because the upstream socket's buffer was full.
    kernel_drops_upstream,
    /// Datagrams, or whole trains, that the kernel dropped because they can hold no SNAPtun message;
    /// counted by worker 0, and only with kernel dispatch.
    kernel_drops_garbage,
    /// Turns of the worker's loop; stands still only while the worker sleeps or hangs.
    turns,
    /// Tunnels now.
    tunnels,
    /// Tunnels now that their clients have not used yet.
    half_open_tunnels,
    /// Tunnels of the process before that are not there yet.
    remembered_tunnels,
    /// Tunnels that were removed because a grant ended, and whose clients are served again if it returns.
    lapsed_tunnels,
    /// Handshake messages that now wait for their share of the worker's time.
    waiting_handshakes,
    /// Packets that now wait for a tunnel's session.
    waiting_packets,
    /// Received packets that now wait in a send queue.
    queued_packets,
}

impl Counters {
    const WORDS: usize = Self::SCALARS + DropReason::COUNT;

    /// Counts `packets` datagrams dropped for `reason`.
    pub fn drop_packets(&mut self, reason: DropReason, packets: u64) {
        self.dropped[reason.index()] += packets;
    }

    /// All datagrams received.
    pub fn received(&self) -> u64 {
        self.received_incoming_packets + self.received_outgoing_packets
    }

    /// All datagrams delivered to the gateway itself.
    pub fn delivered(&self) -> u64 {
        self.delivered_handshakes
            + self.delivered_cookies
            + self.delivered_keepalives
            + self.delivered_to_sink
    }

    /// All datagrams sent on.
    pub fn sent(&self) -> u64 {
        self.sent_incoming_packets + self.sent_outgoing_packets
    }

    /// All cookie replies sent, for whatever reason.
    pub fn cookies_demanded(&self) -> u64 {
        self.cookies_demanded_address_limit
            + self.cookies_demanded_total_limit
            + self.cookies_demanded_takeover
    }

    /// All datagrams dropped, for whatever reason.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Datagrams that now wait in a queue.
    pub fn in_flight(&self) -> u64 {
        self.waiting_handshakes + self.waiting_packets + self.queued_packets
    }

    /// Whether every datagram received so far is accounted for.
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

/// One worker's counters as the other threads see them.
///
/// A sequence lock with one writer: the worker never waits, and a reader that meets a write reads
/// again, so a snapshot is always that of the end of one turn. Aligned to two cache lines, the unit
/// in which x86-64 prefetches, so that no two workers ever write to the same one.
#[derive(Debug)]
#[repr(align(128))]
pub struct Published {
    /// Odd while the words are being written.
    sequence: AtomicU64,
    words: [AtomicU64; Counters::WORDS],
}

impl Published {
    /// All zero.
    pub fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; Counters::WORDS],
        }
    }

    /// Makes `counters` visible. Only the owning worker calls this, and whoever joined its thread.
    pub(crate) fn publish(&self, counters: &Counters) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // Whoever sees one of the words below also sees the odd number above.
        fence(Ordering::Release);
        for (published, word) in self.words.iter().zip(counters.to_words()) {
            published.store(word, Ordering::Relaxed);
        }
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// The counters as they were at the end of the worker's last turn.
    pub fn snapshot(&self) -> Counters {
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
    fn published_counters_come_back_as_they_were() {
        let mut counters = Counters {
            received_incoming_packets: 7,
            queued_packets: 3,
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

//! Fault-free periods: floods continue, all other faults stop, and every authorized client must be served soon.

use std::time::Duration;

use crate::client::Client;
use crate::clock::Ahead;
use crate::packets::Packets;
use crate::scenario::DELAY_MAX;
use crate::trace::Happening;
use crate::violation::Violation;
use crate::world::{Event, World};

/// Mean time between two fault-free periods.
pub(crate) const BETWEEN_PERIODS: Duration = Duration::from_secs(420);

/// Length of a fault-free period: the longest time until a client is served again, plus a margin.
pub(crate) const LENGTH: Duration = Duration::from_secs(180);

/// Interval at which every client sends a packet in a fault-free period.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Interval at which clients check their timers.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// Maximum jitter that `ana-gotatun` adds to its timers.
const JITTER_MAX: Duration = Duration::from_millis(333);

/// Time after which an unanswered client begins a handshake: `Keepalive-Timeout` plus `Rekey-Timeout`, 10 s and 5 s
/// (WireGuard whitepaper, section 6.5).
const NOTICE: Duration = Duration::from_secs(15)
    .saturating_add(JITTER_MAX)
    .saturating_add(TICK);

/// Time after which an initiation is sent again: `Rekey-Timeout` (section 6.4).
const RETRY: Duration = Duration::from_secs(5)
    .saturating_add(JITTER_MAX)
    .saturating_add(TICK);

/// Time for all datagrams under way to arrive.
pub(crate) const ROUND_TRIPS: Duration = Duration::from_secs(2);

/// Maximum time until a client is served again: 43.5 s.
///
/// The client sends a packet, notices that no answer comes, begins a handshake, is asked for a cookie, and tries again.
/// One more attempt and packet are added, because an attempt may end in between, after `Rekey-Attempt-Time`, and begins
/// again with the next packet. Datagrams under way when the period begins have to arrive first.
pub(crate) const SERVED_WITHIN: Duration = DELAY_MAX
    .saturating_add(PROBE_INTERVAL.saturating_mul(2))
    .saturating_add(NOTICE)
    .saturating_add(RETRY.saturating_mul(2))
    .saturating_add(ROUND_TRIPS);

/// Maximum time until a client is served again if it has to displace a tunnel: another identity has one at its address,
/// or one beyond a limit. The tunnel has to become silent first, a cookie proves the client's address, and the client
/// may have to wait for its next attempt twice.
pub(crate) fn served_past_others_within(silent_after: Duration) -> Duration {
    SERVED_WITHIN + silent_after + 2 * RETRY
}

/// A fault-free period, with the time at which each client was first served.
pub(crate) struct FaultFreePeriod {
    pub(crate) began: Duration,
    clients: Vec<Judged>,
}

/// A client in a fault-free period.
struct Judged {
    /// Guaranteed time until it is served, if there is a guarantee.
    allowed: Option<Duration>,
    served_at: Option<Duration>,
}

impl FaultFreePeriod {
    pub(crate) fn begin(now: Duration, allowed: impl Iterator<Item = Option<Duration>>) -> Self {
        let judged = |allowed| Judged {
            allowed,
            served_at: None,
        };
        FaultFreePeriod {
            began: now,
            clients: allowed.map(judged).collect(),
        }
    }

    pub(crate) fn end(&self) -> Duration {
        self.began + LENGTH
    }

    /// Records that a client received the answer to its packet of `sent_at`.
    pub(crate) fn answered(&mut self, client: usize, sent_at: Duration, now: Duration) {
        if sent_at >= self.began {
            self.clients[client].served_at.get_or_insert(now);
        }
    }

    /// Checks that every client was served in time and lost no packet afterwards. Returns the number of clients.
    pub(crate) fn judge(
        &self,
        packets: &Packets,
        nothing_may_be_lost: bool,
        address_of: impl Fn(usize) -> std::net::SocketAddr,
    ) -> Result<usize, Violation> {
        let mut served = 0;
        for (client, judged) in self.clients.iter().enumerate() {
            let Some(allowed) = judged.allowed else {
                continue;
            };
            let first = judged.served_at.map(|at| at - self.began);
            if first.is_none_or(|first| first > allowed) {
                return Err(Violation::NotServed {
                    client,
                    remote: address_of(client),
                    allowed,
                    first,
                });
            }
            // Not from the first answer on, which may still come from a session that is about to expire.
            let from = self.began + allowed;
            let until = self.end().saturating_sub(ROUND_TRIPS);
            let lost = packets.unanswered(client, from..until);
            if let Some(packet) = lost.filter(|_| nothing_may_be_lost) {
                return Err(Violation::LostWithoutFaults { client, packet });
            }
            served += 1;
        }
        Ok(served)
    }
}

impl World<'_> {
    pub(crate) fn begin_fault_free(&mut self) {
        let now = self.clock.elapsed();
        self.trace.note(now, Happening::FaultFreeBegan);
        if self.is_suspended() {
            self.suspend_gateway(Duration::ZERO);
        }
        if self.gateway.is_draining() {
            self.restart_gateway();
        }
        for client in 0..self.clients.len() {
            let woken = &mut self.clients[client];
            woken.away_until = now;
            woken.cut_off_until = now;
            // `Tunn` knows only the time of its last timer check and dates its sessions by it, so it needs a check
            // before anything arrives.
            if let Some(datagram) = woken.tick() {
                self.send_to_gateway(client, datagram);
            }
        }
        let period = FaultFreePeriod::begin(now, (0..self.clients.len()).map(|n| self.promised(n)));
        self.agenda.add(period.end(), Event::FaultFreeEnds);
        self.fault_free = Some(period);
        for client in 0..self.clients.len() {
            self.add_for_client(client, PROBE_INTERVAL / 2, Event::Probe(client));
        }
    }

    /// Returns the guaranteed time until a client is served again, if there is a guarantee.
    fn promised(&self, client: usize) -> Option<Duration> {
        /// Number of remembered identities at which the replay guard forgets none. A forgotten identity leaves its
        /// latest timestamp in a table, and other identities in the same place must be later.
        const ENOUGH: usize = 1 << 18;
        let Client { address, .. } = self.clients[client];
        let key = self.clients[client].key();
        let end = self.clock.now() + LENGTH;
        // Correct clocks are late compared to fast ones.
        let fastest = Ahead::By(self.scenario.clock_error.unwrap_or_default());
        let is_late = self.scenario.clock_of(self.scenario.identity_of(client)) != fastest;
        if self.scenario.is_crowded
            || !self.registry.lasts_until(&key, end)
            || is_late && self.scenario.guarded_identities < ENOUGH
        {
            return None;
        }
        Some(if self.gateway.is_in_the_way(address, &key) {
            served_past_others_within(self.scenario.limits.silent_after)
        } else {
            SERVED_WITHIN
        })
    }

    pub(crate) fn end_fault_free(&mut self) -> Result<(), Violation> {
        if let Some(period) = self.fault_free.take() {
            // A replayed initiation to an earlier process creates a session that its client does not know, in place of
            // the next one that the gateway would have begun.
            let nothing_may_be_lost = !self.attackers.reach_back();
            let address_of = |client: usize| self.clients[client].address;
            let served = period.judge(&self.packets, nothing_may_be_lost, address_of)?;
            self.coverage.note_served(served);
            let ended = Happening::FaultFreeEnded { served };
            self.trace.note(self.clock.elapsed(), ended);
        }
        self.add_in(BETWEEN_PERIODS, Event::FaultFreeBegins);
        Ok(())
    }
}

const _: () = {
    // The longest `silent_after` of the scenarios is 60 s.
    let most = SERVED_WITHIN.as_secs() + 60 + 2 * RETRY.as_secs() + 10;
    assert!(most < LENGTH.as_secs());
};

//! Fault-free periods. Floods continue, all other faults stop, and every authorized client must be served soon.

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

/// Length of a fault-free period: the longest that a client may take to be served again, and a reserve.
pub(crate) const LENGTH: Duration = Duration::from_secs(180);

/// Interval at which every client sends a packet in a fault-free period.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How often clients look at their timers.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// The most that `ana-gotatun` adds to its timers.
const JITTER_MAX: Duration = Duration::from_millis(333);

/// A client that is not answered begins a handshake after `Keepalive-Timeout` and `Rekey-Timeout`, 10 s and
/// 5 s (WireGuard whitepaper, section 6.5).
const NOTICE: Duration = Duration::from_secs(15)
    .saturating_add(JITTER_MAX)
    .saturating_add(TICK);

/// An initiation is sent again after `Rekey-Timeout` (section 6.4).
const RETRY: Duration = Duration::from_secs(5)
    .saturating_add(JITTER_MAX)
    .saturating_add(TICK);

/// What is on its way is there.
pub(crate) const ROUND_TRIPS: Duration = Duration::from_secs(2);

/// How long it may take until a client is served again: 43.5 s.
///
/// It says something, notices that nobody answers, begins a handshake, is asked for a cookie, tries again;
/// once more for one attempt that ends in between, after `Rekey-Attempt-Time`, and begins anew with the
/// next thing that it says. Before, the last that was on its way when the period began has to arrive.
pub(crate) const SERVED_WITHIN: Duration = DELAY_MAX
    .saturating_add(PROBE_INTERVAL.saturating_mul(2))
    .saturating_add(NOTICE)
    .saturating_add(RETRY.saturating_mul(2))
    .saturating_add(ROUND_TRIPS);

/// As long again, and until what is in the way counts as silent, where there is something in the way: the
/// tunnel of another identity at its address, or too many. Cookies prove that it is there, and it waits for
/// its next attempt twice.
pub(crate) fn served_past_others_within(silent_after: Duration) -> Duration {
    SERVED_WITHIN + silent_after + 2 * RETRY
}

/// A fault-free period, and how soon clients were served in it.
pub(crate) struct FaultFreePeriod {
    pub(crate) began: Duration,
    clients: Vec<Judged>,
}

/// A client in a fault-free period.
struct Judged {
    /// How long it may take until it is served; `None` if nothing is promised to it.
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

    /// A client was answered what it sent at `sent_at`.
    pub(crate) fn answered(&mut self, client: usize, sent_at: Duration, now: Duration) {
        if sent_at >= self.began {
            self.clients[client].served_at.get_or_insert(now);
        }
    }

    /// Whether everyone was served in time, and lost nothing once that time was over. Returns how many that were.
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
            // Not from the first answer on: a session that is nearly as old as it may be still gives that.
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
        if self.gateway.is_draining() {
            self.restart_gateway();
        }
        for client in 0..self.clients.len() {
            let woken = &mut self.clients[client];
            woken.away_until = now;
            woken.cut_off_until = now;
            // `Tunn` knows no other time than that of the last look, and dates its sessions by it: before
            // anything arrives it has to know how late it is.
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

    /// How long a client may take to be served again.
    fn promised(&self, client: usize) -> Option<Duration> {
        /// With so many remembered identities the replay guard forgets none. A forgotten identity leaves its latest
        /// timestamp in a table, and other identities at the same place there have to be later than that.
        const ENOUGH: usize = 1 << 18;
        let Client { address, .. } = self.clients[client];
        let key = self.clients[client].key();
        let end = self.clock.now() + LENGTH;
        // Those whose clocks are right are late, compared to those whose clocks are fast.
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
            // An initiation to an earlier process, sent again, makes a session that its client does not know, in
            // the place of the next that the gateway would have begun.
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

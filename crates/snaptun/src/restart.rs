//! Handshakes that the gateway begins with clients that do not know that their tunnel is gone.
//!
//! A client notices only after 15 s that its gateway has forgotten it (WireGuard whitepaper, section 6.5),
//! but answers an initiation at once. The shard remembers two kinds of clients without a tunnel:
//!
//! - Tunnels of the previous process. The first data message from such an address begins the handshake.
//! - Tunnels whose identity's grant ended. Whenever authorizations change, the shard looks at all of these, a
//!   slice at a time, and begins a handshake with those that are authorized again: their clients may be silent
//!   for 10 s. If that is lost, data begins the next one. Until the grant returns the client is sent nothing.
//!
//! Anyone can send data messages from made-up addresses. What that costs is bounded: such a handshake is
//! begun at an even pace, once in [`REKEY_TIMEOUT`] for each address, and only where there is room without
//! ending a tunnel. One that is not answered within that time is given up, rather than retransmitted. The
//! client's own initiation is taken in at any time, as in every tunnel of its identity.
//!
//! Clients behind one address answer all at once, so the first response to each of these handshakes is taken in
//! whatever the limit of its address: they are no more than were begun.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::config::ShardConfig;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::incoming::protocol_message;
use crate::remembered::{Client, Phase, Remembered};
use crate::server::SnapTunServer;
use crate::stack::on_wiped_stack;
use crate::timers::TimerRound;
use crate::transmit::Transmit;
use crate::tunnel::{Peer, REKEY_TIMEOUT, Tunnel};

/// `Reject-After-Time` (WireGuard whitepaper, section 6.1): no session of the process before is used longer.
const SESSIONS_END_AFTER: Duration = Duration::from_secs(180);

/// Three times `Reject-After-Time`: a client has wiped all of its keys by then (section 6.3), and begins with a
/// handshake of its own.
const CLIENTS_FORGET_AFTER: Duration = Duration::from_secs(540);

/// Handshakes that fall due while the worker does something else may be begun at once, up to those of this
/// time: at the default pace 20, which take 3 ms.
const BURST: Duration = Duration::from_millis(20);

/// The clients that the shard begins a handshake with.
pub(crate) struct Restart {
    remembered: Remembered,
    /// In which all of them are looked at once.
    round: TimerRound,
    pace: Pace,
}

impl Restart {
    pub(crate) fn new(now: Instant, config: &ShardConfig, generation: u64) -> Self {
        Restart {
            remembered: Remembered::default(),
            round: TimerRound::new(now, config.timer_round, generation),
            pace: Pace::new(now, config.restart_handshakes_per_second),
        }
    }

    /// The peer at this address uses a tunnel of this process.
    pub(crate) fn forget(&mut self, remote: SocketAddr) {
        self.remembered.remove(remote);
    }

    /// When the next clients are to be looked at, if there are any.
    pub(crate) fn next_slice_at(&self) -> Option<Instant> {
        let slots = self.remembered.slots();
        (slots > 0).then(|| self.round.next_slice_at(slots))
    }
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Remembers that `identity` had a tunnel at `remote` in the process before this one: if data comes from
    /// there in the next 180 s, the shard begins a handshake.
    ///
    /// Returns false, and remembers nothing, if there is a tunnel already, the identity may not have one, or as
    /// many addresses are remembered as there may be tunnels.
    ///
    /// The clock of the day must be later than any at which the process before began a handshake: clients
    /// refuse initiations with an earlier timestamp than the last, and `Tunn` takes it from that clock.
    pub fn remember(&mut self, now: Instant, remote: SocketAddr, identity: [u8; 32]) -> bool {
        let remembered = &mut self.restart.remembered;
        if self.tunnels.find(remote).is_some()
            || remembered.len() >= self.config.tunnels_per_shard
            || CachedGrant::ask(&*self.authorization, now, self.generation, &identity).is_none()
        {
            return false;
        }
        remembered.insert(Client {
            remote,
            via: None,
            identity,
            phase: Phase::AwaitsData,
            not_before: now,
            forget_at: now + SESSIONS_END_AFTER,
        });
        true
    }

    /// How many tunnels of the process before are remembered, and not there yet.
    #[must_use]
    pub fn remembered_tunnels(&self) -> usize {
        self.restart.remembered.len() - self.restart.remembered.lapsed()
    }

    /// How many tunnels are remembered that were removed because the grant of their identity ended.
    #[must_use]
    pub fn lapsed_tunnels(&self) -> usize {
        self.restart.remembered.lapsed()
    }

    /// Remembers a tunnel whose identity's grant ended, if its peer used it.
    pub(crate) fn remember_lapsed(&mut self, now: Instant, tunnel: &Tunnel<A::SessionData>) {
        let remembered = &mut self.restart.remembered;
        let Endpoint { remote, via } = tunnel.endpoint();
        if tunnel.is_confirmed() {
            if remembered.len() < self.config.tunnels_per_shard {
                remembered.insert(Client {
                    remote,
                    via: Some(via),
                    identity: *tunnel.identity(),
                    phase: Phase::Lapsed,
                    not_before: now,
                    forget_at: tunnel.heard_at() + CLIENTS_FORGET_AFTER,
                });
            }
        } else if let Some(client) = remembered.find(remote)
            && client.via.is_some()
            && client.identity == *tunnel.identity()
        {
            client.phase = Phase::Lapsed;
        }
    }

    /// Looks at those remembered clients whose turn has come: forgets them, or begins a handshake with those that
    /// are authorized again.
    pub(crate) fn look_at_remembered(
        &mut self,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) {
        let slots = self.restart.remembered.slots();
        let all = self.restart.round.is_for_all(self.generation, slots);
        for slot in self.restart.round.next_slice(now, slots) {
            let Some(client) = self.restart.remembered.get(slot.0) else {
                continue;
            };
            if now >= client.forget_at {
                let remote = client.remote;
                self.restart.forget(remote);
                continue;
            }
            let is_due = match client.phase {
                Phase::AwaitsData => false,
                Phase::Lapsed => all,
                Phase::Returned => true,
            };
            if is_due && !self.draining {
                self.resume(now, client.remote, send_to_network);
            }
        }
    }

    /// Begins a handshake with the client of a tunnel whose identity's grant ended, if that has returned.
    fn resume(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        send_to_network: &mut VecDeque<Transmit>,
    ) {
        let Some(client) = self.restart.remembered.find(remote) else {
            return;
        };
        let (Some(via), identity) = (client.via, client.identity) else {
            return;
        };
        let asked = CachedGrant::ask(&*self.authorization, now, self.generation, &identity);
        let Some(grant) = asked else {
            client.phase = Phase::Lapsed;
            return;
        };
        client.phase = Phase::Returned;
        if now < client.not_before || self.tunnels.find(remote).is_some() {
            return;
        }
        let has_moved =
            self.config.one_tunnel_per_identity && !self.census.tunnels_of(&identity).is_empty();
        if has_moved {
            self.restart.forget(remote);
        } else if self.has_room(&identity) && self.restart.pace.take(now) {
            let to = Endpoint { remote, via };
            // It was begun, or cannot be: data from the address begins the next.
            let _reason = self.begin_handshake(now, to, identity, grant, send_to_network);
        }
    }

    /// Takes in data from an address without a tunnel: begins a handshake if there was one there.
    /// Returns why the data itself goes no further.
    pub(crate) fn restart_tunnel(
        &mut self,
        now: Instant,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        let Some(client) = self.restart.remembered.find(from.remote) else {
            return DropReason::NoTunnel;
        };
        if self.draining {
            return DropReason::Draining;
        }
        if now >= client.forget_at {
            self.restart.forget(from.remote);
            return DropReason::NoTunnel;
        }
        let (identity, not_before) = (client.identity, client.not_before);
        let generation = self.generation;
        let Some(grant) = CachedGrant::ask(&*self.authorization, now, generation, &identity) else {
            return DropReason::Unauthorized;
        };
        if now < not_before {
            return DropReason::NoTunnel;
        }
        if !self.has_room(&identity) || !self.restart.pace.take(now) {
            self.counters.restart_handshakes_deferred += 1;
            return DropReason::NoTunnel;
        }
        self.begin_handshake(now, from, identity, grant, send_to_network)
    }

    /// Begins a handshake with a remembered client. Returns why data from it goes no further.
    fn begin_handshake(
        &mut self,
        now: Instant,
        to: Endpoint,
        identity: [u8; 32],
        grant: CachedGrant<A::SessionData>,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        if let Some(client) = self.restart.remembered.find(to.remote) {
            client.phase = Phase::AwaitsData;
            client.not_before = now + REKEY_TIMEOUT;
        }
        on_wiped_stack(|| self.make_tunnel(now, to, identity, grant, send_to_network))
    }

    /// Makes a tunnel that begins a handshake.
    fn make_tunnel(
        &mut self,
        now: Instant,
        to: Endpoint,
        identity: [u8; 32],
        grant: CachedGrant<A::SessionData>,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        let static_shared = match self.agreement_key.agree(&identity) {
            Ok(shared) => shared,
            Err(reason) => return reason,
        };
        let peer = Peer {
            identity,
            static_shared,
            grant,
        };
        let tunn = self.new_tunn(&peer, to);
        let number = self.counters.tunnels_created;
        let Some((tunnel, initiation)) = Tunnel::restart(now, tunn, to, peer, number) else {
            return DropReason::NoTunnel;
        };
        self.insert(now, tunnel);
        self.counters.tunnels_created += 1;
        self.counters.handshakes_initiated += 1;
        self.counters.restart_handshakes_started += 1;
        send_to_network.push_back(protocol_message(to, initiation.into()));
        DropReason::NoSession
    }
}

/// Spreads what may be done so often in a second evenly over it.
struct Pace {
    interval: Duration,
    /// When the next would be due if all had come evenly.
    due: Instant,
}

impl Pace {
    fn new(now: Instant, per_second: u64) -> Self {
        Pace {
            interval: Duration::from_nanos(1_000_000_000 / per_second.clamp(1, 1_000_000_000)),
            due: now,
        }
    }

    /// Whether one may be done now.
    fn take(&mut self, now: Instant) -> bool {
        let due = self.due.max(now);
        if due.duration_since(now) > BURST {
            return false;
        }
        self.due = due + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn a_second_has_as_many_as_configured_and_the_burst() {
        let start = Instant::now();
        for per_second in [1, 7, 1000, 1_000_000] {
            let mut pace = Pace::new(start, per_second);
            let taken = (0..=1000)
                .map(|millisecond| start + Duration::from_millis(millisecond))
                .map(|now| (0..2000).take_while(|_| pace.take(now)).count() as u64)
                .sum::<u64>();
            let burst = per_second * 20 / 1000 + 1;
            assert!(
                (per_second..=per_second + burst).contains(&taken),
                "{taken} at {per_second} a second"
            );
        }
    }
}

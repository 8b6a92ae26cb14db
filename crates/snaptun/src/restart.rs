//! Tunnels of the process before this one.
//!
//! A client notices only after 15 s that its gateway has forgotten it (WireGuard whitepaper, section 6.5),
//! but answers an initiation at once. So the first data message from an address that is remembered makes
//! the shard begin the handshake.
//!
//! Anyone can send data messages from made-up addresses. What that costs is bounded: such a handshake is
//! begun at an even pace, once in [`REKEY_TIMEOUT`] for each address, and only where there is room without
//! ending a tunnel. One that is not answered within that time is given up, rather than retransmitted. The
//! client's own initiation is taken in at any time, as in every tunnel of its identity.
//!
//! Clients behind one address answer all at once, so the first response to each of these handshakes is taken in
//! whatever the limit of its address: they are no more than were begun.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::incoming::protocol_message;
use crate::server::SnapTunServer;
use crate::stack::on_wiped_stack;
use crate::transmit::Transmit;
use crate::tunnel::{Peer, REKEY_TIMEOUT, Tunnel};

/// `Reject-After-Time` (WireGuard whitepaper, section 6.1): no session of the process before is used longer.
const SESSIONS_END_AFTER: Duration = Duration::from_secs(180);

/// Handshakes that fall due while the worker does something else may be begun at once, up to those of this
/// time: at the default pace 20, which take 3 ms.
const BURST: Duration = Duration::from_millis(20);

/// The tunnels that the process before had, and this one does not have yet.
pub(crate) struct Restart {
    remembered: HashMap<SocketAddr, Remembered, ahash::RandomState>,
    /// Then all of them are of no use.
    forget_at: Instant,
    pace: Pace,
}

struct Remembered {
    identity: [u8; 32],
    /// When a handshake may be begun.
    not_before: Instant,
}

impl Restart {
    pub(crate) fn new(now: Instant, handshakes_per_second: u64) -> Self {
        Restart {
            remembered: HashMap::default(),
            forget_at: now,
            pace: Pace::new(now, handshakes_per_second),
        }
    }

    /// The peer at this address uses a tunnel of this process.
    pub(crate) fn forget(&mut self, remote: SocketAddr) {
        self.remembered.remove(&remote);
    }

    /// Forgets everyone when no session of the process before can be left.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        if now >= self.forget_at && !self.remembered.is_empty() {
            self.remembered = HashMap::default();
        }
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
        self.restart.forget_at = now + SESSIONS_END_AFTER;
        remembered.insert(
            remote,
            Remembered {
                identity,
                not_before: now,
            },
        );
        true
    }

    /// How many tunnels of the process before are remembered, and not there yet.
    #[must_use]
    pub fn remembered_tunnels(&self) -> usize {
        self.restart.remembered.len()
    }

    /// Takes in data from an address without a tunnel: begins a handshake if the process before had one there.
    /// Returns why the data itself goes no further.
    pub(crate) fn restart_tunnel(
        &mut self,
        now: Instant,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        let Some(remembered) = self.restart.remembered.get_mut(&from.remote) else {
            return DropReason::NoTunnel;
        };
        if self.draining {
            return DropReason::Draining;
        }
        if now < remembered.not_before {
            return DropReason::NoTunnel;
        }
        let identity = remembered.identity;
        if !self.has_room(&identity) || !self.restart.pace.take(now) {
            self.counters.restart_handshakes_deferred += 1;
            return DropReason::NoTunnel;
        }
        let generation = self.generation;
        let Some(grant) = CachedGrant::ask(&*self.authorization, now, generation, &identity) else {
            self.restart.forget(from.remote);
            return DropReason::Unauthorized;
        };
        if let Some(remembered) = self.restart.remembered.get_mut(&from.remote) {
            remembered.not_before = now + REKEY_TIMEOUT;
        }
        on_wiped_stack(|| self.begin_handshake(now, from, identity, grant, send_to_network))
    }

    /// Makes a tunnel that begins a handshake.
    fn begin_handshake(
        &mut self,
        now: Instant,
        from: Endpoint,
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
        let tunn = self.new_tunn(&peer, from);
        let number = self.counters.tunnels_created;
        let Some((tunnel, initiation)) = Tunnel::restart(now, tunn, from, peer, number) else {
            return DropReason::NoTunnel;
        };
        self.insert(now, tunnel);
        self.counters.tunnels_created += 1;
        self.counters.handshakes_initiated += 1;
        self.counters.restart_handshakes_started += 1;
        send_to_network.push_back(protocol_message(from, initiation.into()));
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

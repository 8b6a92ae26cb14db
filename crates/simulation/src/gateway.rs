//! The gateway under test: some shards that share a replay guard, and the ledger of each.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snaptun::{
    Consumed, DropReason, Endpoint, Incoming, Move, Outgoing, Packet, Payload, ReplayGuard,
    ShardCounters, SnapTunServer, StaticSecret, Transmit, TunnelView, Via,
};

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::registry::{Registry, Session};
use crate::scenario::Scenario;
use crate::violation::Violation;

/// Within so long a tunnel is gone whose identity lost its authorization.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// So many locks has the replay guard, each of which remembers at least one identity.
const GUARD_LOCKS: usize = 64;

/// One process of the gateway.
pub(crate) struct Gateway {
    scenario: Scenario,
    registry: Arc<Registry>,
    guard: Arc<ReplayGuard>,
    shards: Vec<Shard>,
    /// Which shard owns which address follows from this.
    dispatch_key: u64,
    /// The ephemeral keys of the initiations that were answered.
    answered: HashSet<[u8; 32]>,
    is_draining: bool,
}

struct Shard {
    server: SnapTunServer<Registry>,
    ledger: Ledger,
    /// What is to be sent.
    sent: VecDeque<Transmit>,
    /// When the peers of the tunnels that are used were last heard from.
    talking: BTreeMap<SocketAddr, Talking>,
    /// How it was when the tunnels were last inspected.
    inspected: Inspected,
}

/// A tunnel that its peer has used.
struct Talking {
    identity: [u8; 32],
    heard_at: Instant,
    /// The address of ours that it talked to.
    via: Via,
}

/// What changes whenever tunnels come or go.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Inspected {
    created: u64,
    expired: u64,
    tunnels: usize,
}

/// What became of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Delivered,
    Consumed(Consumed),
    Dropped(DropReason),
    Encapsulated,
    Waiting,
}

/// A packet that came out of a tunnel.
pub(crate) struct Delivered {
    pub(crate) packet: Vec<u8>,
    pub(crate) session: Session,
}

impl Gateway {
    pub(crate) fn start(
        clock: &Clock,
        scenario: &Scenario,
        secret: &StaticSecret,
        registry: Arc<Registry>,
        seed: u64,
    ) -> Self {
        let now = clock.now();
        let identities = scenario.guarded_identities;
        let guard = Arc::new(ReplayGuard::seeded(now, clock.wall(), identities, seed));
        let shards = (0..scenario.shards)
            .map(|shard| Shard {
                server: SnapTunServer::seeded(
                    now,
                    secret.clone(),
                    Arc::clone(&registry),
                    Arc::clone(&guard),
                    scenario.limits.clone(),
                    seed ^ (1 + shard as u64),
                ),
                ledger: Ledger::default(),
                sent: VecDeque::new(),
                talking: BTreeMap::new(),
                inspected: Inspected::default(),
            })
            .collect();
        Gateway {
            scenario: scenario.clone(),
            registry,
            guard,
            shards,
            dispatch_key: seed,
            answered: HashSet::new(),
            is_draining: false,
        }
    }

    pub(crate) fn owner_of(&self, remote: SocketAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.dispatch_key, remote).hash(&mut hasher);
        hasher.finish() as usize % self.shards.len()
    }

    /// Takes in a datagram.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        datagram: &[u8],
        from: Endpoint,
    ) -> Result<(Fate, Option<Delivered>, Vec<Transmit>), Violation> {
        let owner = self.owner_of(from.remote);
        let shard = &mut self.shards[owner];
        let was_stranger = !shard.server.has_tunnel(from.remote);
        let waited = shard.server.waiting_packets();
        let restarts = shard.server.counters().restart_handshakes_started;
        shard.server.start_batch();
        let packet = Packet::copy_from(datagram);
        let incoming = shard
            .server
            .handle_incoming_packet(now, packet, from, &mut shard.sent);
        let (fate, delivered) = match incoming {
            Incoming::Delivered {
                packet,
                session_data,
            } => {
                let delivered = Delivered {
                    packet: packet.to_vec(),
                    session: *session_data,
                };
                (Fate::Delivered, Some(delivered))
            }
            Incoming::Consumed(consumed) => (Fate::Consumed(consumed), None),
            Incoming::Dropped(reason) => (Fate::Dropped(reason), None),
        };
        let is_authentic = match fate {
            Fate::Delivered => true,
            Fate::Consumed(consumed) => match consumed {
                Consumed::HandshakeAnswered { new_tunnel } => !new_tunnel,
                Consumed::HandshakeCompleted | Consumed::Keepalive => true,
                Consumed::CookieReplySent | Consumed::CookieReceived => false,
            },
            _ => false,
        };
        if is_authentic && let Some(tunnel) = shard.tunnel_at(from.remote) {
            let talking = Talking {
                identity: *tunnel.identity,
                heard_at: now,
                via: from.via,
            };
            if tunnel.in_use {
                shard.talking.insert(from.remote, talking);
            }
        }
        if let Fate::Consumed(consumed) = fate {
            shard.ledger.consume(consumed);
            if let Consumed::HandshakeAnswered { .. } = consumed {
                // Behind the type and the sender's index.
                let ephemeral = datagram.get(8..40).and_then(|key| key.try_into().ok());
                if !ephemeral.is_some_and(|key| self.answered.insert(key)) {
                    return Err(Violation::AnsweredTwice { from: from.remote });
                }
            }
        }
        // What timers had due, and an answer; what waited follows an answer.
        let most = if was_stranger { 1 } else { 2 + waited };
        let bytes: usize = shard
            .sent
            .iter()
            .map(|transmit| transmit.packet.len())
            .sum();
        // A peer of the process before is asked for a handshake, which is longer than its keepalive.
        let is_restart = shard.server.counters().restart_handshakes_started > restarts;
        let amplified = was_stranger && !is_restart && bytes > datagram.len();
        let elsewhere = shard.sent.iter().any(|t| t.to.remote != from.remote);
        if shard.sent.len() > most || amplified || elsewhere {
            return Err(Violation::SentTooMuch {
                from: from.remote,
                datagrams: shard.sent.len(),
                bytes,
            });
        }
        if let Some(delivered) = &delivered {
            self.check_session(now, from.remote, delivered.session)?;
        }
        let sent = self.take_sent(now, owner, Some(from.remote))?;
        Ok((fate, delivered, sent))
    }

    /// Sends a packet from SCION. Returns whose tunnel it went into.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        packet: &[u8],
        to: SocketAddr,
    ) -> Result<(Fate, Option<usize>, Vec<Transmit>), Violation> {
        let owner = self.owner_of(to);
        let shard = &mut self.shards[owner];
        shard.server.start_batch();
        let outgoing = shard.server.handle_outgoing_packet(
            now,
            Packet::copy_from(packet),
            to,
            &mut shard.sent,
        );
        let (fate, session) = match outgoing {
            Outgoing::Encapsulated { session_data } => (Fate::Encapsulated, Some(*session_data)),
            Outgoing::Waiting { session_data } => (Fate::Waiting, Some(*session_data)),
            Outgoing::Dropped {
                reason,
                packet: returned,
            } => {
                if returned[..] != *packet {
                    return Err(Violation::ReturnedChanged { reason });
                }
                (Fate::Dropped(reason), None)
            }
        };
        if let Some(session) = session {
            shard.ledger.accept();
            self.check_session(now, to, session)?;
        }
        let sent = self.take_sent(now, owner, None)?;
        Ok((fate, session.map(|session| session.identity), sent))
    }

    /// The shard whose timers want to be looked at first, and when.
    pub(crate) fn next_timer(&self, clock: &Clock) -> (Duration, usize) {
        let timers = self.shards.iter().enumerate().map(|(number, shard)| {
            let at = clock.since_start(shard.server.next_timer());
            // Whole milliseconds, as everything that happens.
            (Duration::from_millis(at.as_millis() as u64 + 1), number)
        });
        timers.min().unwrap_or((Duration::MAX, 0))
    }

    pub(crate) fn update_timers(
        &mut self,
        now: Instant,
        number: usize,
    ) -> Result<Vec<Transmit>, Violation> {
        let shard = &mut self.shards[number];
        shard.server.start_batch();
        shard.server.update_timers(now, &mut shard.sent);
        if shard.server.next_timer() <= now {
            return Err(Violation::RestlessTimers { shard: number });
        }
        self.take_sent(now, number, None)
    }

    /// The next thing that a shard wants others to know, and which they are.
    pub(crate) fn next_move(&mut self) -> Option<(Move, Vec<usize>)> {
        let shards = self.shards.len();
        self.shards
            .iter_mut()
            .enumerate()
            .find_map(|(number, shard)| {
                let moved = shard.server.next_move()?;
                Some((
                    moved,
                    (0..shards).filter(|other| *other != number).collect(),
                ))
            })
    }

    pub(crate) fn end_older_tunnels(&mut self, shard: usize, moved: &Move) {
        self.shards[shard].server.end_older_tunnels(moved);
    }

    /// Takes what a shard wants to send. Cookies go back to where something came from; all else to a tunnel
    /// whose identity may have one.
    fn take_sent(
        &mut self,
        now: Instant,
        shard: usize,
        from: Option<SocketAddr>,
    ) -> Result<Vec<Transmit>, Violation> {
        const COOKIE_REPLY: u8 = 3;
        let sent: Vec<_> = self.shards[shard].sent.drain(..).collect();
        for transmit in &sent {
            self.shards[shard].ledger.send(transmit);
            let to = transmit.to.remote;
            let kind = transmit.packet.first().copied().unwrap_or_default();
            let allowed = if kind == COOKIE_REPLY {
                from == Some(to)
            } else {
                self.holder_of(to)
                    .is_some_and(|key| self.registry.session(&key, now).is_some())
            };
            if !allowed {
                return Err(Violation::SentToStranger { to, kind });
            }
            let talking = self.shards[shard].talking.get(&to);
            if transmit.payload == Payload::Forwarded
                && talking.is_some_and(|talking| talking.via != transmit.to.via)
            {
                return Err(Violation::LeftByAnotherWay { to });
            }
        }
        Ok(sent)
    }

    /// A packet passed the tunnel of an address: it was that of this session, and it may have one.
    fn check_session(
        &self,
        now: Instant,
        remote: SocketAddr,
        session: Session,
    ) -> Result<(), Violation> {
        let right = self
            .holder_of(remote)
            .and_then(|key| self.registry.session(&key, now));
        if right == Some(session) {
            return Ok(());
        }
        Err(Violation::PassedUnauthorized {
            identity: session.identity,
            given: session.version,
            right: right.map(|right| right.version),
        })
    }

    /// Makes no tunnel from now on.
    pub(crate) fn drain(&mut self) {
        self.is_draining = true;
        for shard in &mut self.shards {
            shard.server.drain();
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Remembers the tunnels of the process before.
    pub(crate) fn remember(&mut self, now: Instant, before: &Gateway) {
        for shard in &before.shards {
            for tunnel in shard.server.tunnels().filter(|tunnel| tunnel.in_use) {
                let owner = self.owner_of(tunnel.remote);
                let server = &mut self.shards[owner].server;
                // One whose identity lost its authorization is not remembered.
                let _ = server.remember(now, tunnel.remote, *tunnel.identity);
            }
        }
    }

    /// The identity whose tunnel an address is.
    pub(crate) fn holder_of(&self, remote: SocketAddr) -> Option<[u8; 32]> {
        let shard = &self.shards[self.owner_of(remote)];
        shard.tunnel_at(remote).map(|tunnel| *tunnel.identity)
    }

    /// How old the tunnel of an address is. Zero if there is none.
    pub(crate) fn age_of(&self, remote: SocketAddr, now: Instant) -> Duration {
        let tunnel = self.shards[self.owner_of(remote)].tunnel_at(remote);
        tunnel.map_or(Duration::ZERO, |tunnel| {
            now.saturating_duration_since(tunnel.created_at)
        })
    }

    /// Whether a newcomer of this identity, at this address, would have to take the place of another tunnel.
    pub(crate) fn is_in_the_way(&self, remote: SocketAddr, identity: &[u8; 32]) -> bool {
        let limits = &self.scenario.limits;
        let server = &self.shards[self.owner_of(remote)].server;
        let own = server
            .tunnels()
            .filter(|tunnel| tunnel.identity == identity);
        self.holder_of(remote).is_some_and(|key| key != *identity)
            || own.count() >= limits.tunnels_per_identity
            || server.tunnel_count() >= limits.tunnels_per_shard
    }

    /// Checks the books of all shards, and the tunnels of those in which some came or went.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Violation> {
        for number in 0..self.shards.len() {
            let shard = &self.shards[number];
            shard.ledger.check(number, &shard.server)?;
            self.check_limits(number)?;
            let counters = shard.server.counters();
            let inspected = Inspected {
                created: counters.tunnels_created,
                expired: counters.tunnels_expired,
                tunnels: shard.server.tunnel_count(),
            };
            let before = std::mem::replace(&mut self.shards[number].inspected, inspected);
            if before != inspected {
                self.inspect(now, number)?;
                let none_expired = before.expired == inspected.expired;
                self.find_displaced(now, number, none_expired)?;
            }
        }
        Ok(())
    }

    /// Checks everything that there is to check.
    pub(crate) fn inspect_all(&mut self, now: Instant) -> Result<(), Violation> {
        let remembered = 2 * GUARD_LOCKS * self.scenario.guarded_identities.div_ceil(GUARD_LOCKS);
        within(0, "guarded identities", self.guard.identities(), remembered)?;
        for number in 0..self.shards.len() {
            self.inspect(now, number)?;
        }
        Ok(())
    }

    fn check_limits(&self, number: usize) -> Result<(), Violation> {
        let server = &self.shards[number].server;
        let limits = &self.scenario.limits;
        let most_waiting = server.tunnel_count() * limits.waiting_packets_per_tunnel;
        let checks = [
            ("tunnels", server.tunnel_count(), limits.tunnels_per_shard),
            (
                "half-open tunnels",
                server.half_open_tunnels(),
                limits.half_open_tunnels,
            ),
            ("waiting packets", server.waiting_packets(), most_waiting),
            (
                "remembered tunnels",
                server.remembered_tunnels(),
                limits.tunnels_per_shard,
            ),
            (
                "waiting bytes",
                server.waiting_bytes(),
                limits.waiting_bytes_per_shard,
            ),
        ];
        for (what, is, limit) in checks {
            within(number, what, is, limit)?;
        }
        Ok(())
    }

    /// Looks at every tunnel of a shard.
    fn inspect(&self, now: Instant, number: usize) -> Result<(), Violation> {
        let server = &self.shards[number].server;
        let limits = &self.scenario.limits;
        let mut addresses = BTreeSet::new();
        let mut by_identity: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        let mut half_open = 0;
        for tunnel in server.tunnels() {
            let remote = tunnel.remote;
            if !addresses.insert(remote) {
                return Err(Violation::TwoTunnels {
                    shard: number,
                    remote,
                });
            }
            if !server.has_tunnel(remote) || self.owner_of(remote) != number {
                return Err(Violation::LostTunnel {
                    shard: number,
                    remote,
                });
            }
            let without = self.registry.time_without(tunnel.identity, now);
            if without > REVOKED_WITHIN {
                return Err(Violation::OutlivedItsGrant {
                    identity: self.registry.number_of(tunnel.identity),
                    remote,
                    time: without,
                });
            }
            *by_identity.entry(*tunnel.identity).or_default() += 1;
            half_open += usize::from(!tunnel.in_use);
        }
        let most = by_identity.values().copied().max().unwrap_or_default();
        within(
            number,
            "tunnels of one identity",
            most,
            limits.tunnels_per_identity,
        )?;
        for (what, seen, counted) in [
            ("tunnels", addresses.len(), server.tunnel_count()),
            ("half-open tunnels", half_open, server.half_open_tunnels()),
        ] {
            if seen != counted {
                return Err(Violation::Unbalanced {
                    shard: number,
                    what,
                    seen: seen as u64,
                    counted: counted as u64,
                });
            }
        }
        Ok(())
    }

    /// Looks for tunnels that are gone though their peers talked, and nothing but another tunnel was against it.
    fn find_displaced(
        &mut self,
        now: Instant,
        number: usize,
        none_expired: bool,
    ) -> Result<(), Violation> {
        let limits = &self.scenario.limits;
        let shard = &mut self.shards[number];
        let there: BTreeMap<_, _> = shard
            .server
            .tunnels()
            .map(|tunnel| (tunnel.remote, *tunnel.identity))
            .collect();
        let mut displaced = None;
        shard.talking.retain(|remote, talking| {
            let stays = there.get(remote) == Some(&talking.identity);
            let was_talking = now.saturating_duration_since(talking.heard_at) < limits.silent_after;
            let is_authorized = self.registry.session(&talking.identity, now).is_some();
            if !stays && was_talking && is_authorized {
                displaced = Some(*remote);
            }
            stays
        });
        match displaced {
            Some(remote) if none_expired && !limits.one_tunnel_per_identity => {
                Err(Violation::Displaced {
                    shard: number,
                    remote,
                })
            }
            _ => Ok(()),
        }
    }

    /// What the shards counted, one after the other.
    pub(crate) fn counters(&self) -> impl Iterator<Item = ShardCounters> {
        self.shards.iter().map(|shard| shard.server.counters())
    }
}

impl Shard {
    fn tunnel_at(&self, remote: SocketAddr) -> Option<TunnelView<'_>> {
        self.server.tunnels().find(|tunnel| tunnel.remote == remote)
    }
}

fn within(shard: usize, what: &'static str, is: usize, limit: usize) -> Result<(), Violation> {
    if is <= limit {
        return Ok(());
    }
    Err(Violation::Limit {
        shard,
        what,
        is,
        limit,
    })
}

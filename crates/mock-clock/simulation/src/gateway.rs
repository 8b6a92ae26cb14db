//! Gateway under test: shards with a shared replay guard, and the ledger of each shard.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snaptun::{
    Consumed, DropReason, Endpoint, Event, HandshakeLimits, Incoming, Move, Outgoing, Packet,
    Payload, ReplayGuard, ShardCounters, SnapTunServer, StaticSecret, Transmit, TunnelView, Via,
};

use crate::clock::Clock;
use crate::inspection::Inspected;
use crate::ledger::Ledger;
use crate::registry::{Registry, Session};
use crate::scenario::Scenario;
use crate::violation::Violation;

/// One process of the gateway.
pub(crate) struct Gateway {
    pub(crate) scenario: Scenario,
    pub(crate) registry: Arc<Registry>,
    pub(crate) guard: Arc<ReplayGuard>,
    pub(crate) shards: Vec<Shard>,
    /// Key of the hash that assigns addresses to shards.
    dispatch_key: u64,
    /// Ephemeral keys of all answered initiations.
    answered: HashSet<[u8; 32]>,
    is_draining: bool,
    /// Start, or end of the last suspension.
    pub(crate) runs_since: Instant,
}

pub(crate) struct Shard {
    pub(crate) server: SnapTunServer<Registry>,
    pub(crate) ledger: Ledger,
    /// Datagrams to send.
    sent: VecDeque<Transmit>,
    /// Tunnels in use, with the time of their peers' last message.
    pub(crate) talking: BTreeMap<SocketAddr, Talking>,
    /// Counts at the last inspection.
    pub(crate) inspected: Inspected,
}

/// Tunnel that its peer has used.
pub(crate) struct Talking {
    pub(crate) identity: [u8; 32],
    pub(crate) heard_at: Instant,
    /// Local side of the peer's last message.
    via: Via,
}

/// State of a shard before a datagram was handled.
struct Before {
    /// Set if there was no tunnel at the source address.
    was_stranger: bool,
    waited: usize,
    restarts: u64,
}

/// Fate of a datagram or packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Delivered,
    Consumed(Consumed),
    Dropped(DropReason),
    Encapsulated,
    Waiting,
}

/// Packet received through a tunnel.
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
        let tolerance = ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT;
        let guard = Arc::new(ReplayGuard::seeded(now, identities, tolerance, seed));
        guard.set_clock(now, Some(clock.wall()));
        let handshake_limits = Arc::new(HandshakeLimits::seeded(
            now,
            &scenario.limits,
            scenario.shards,
            seed,
        ));
        let shards = (0..scenario.shards)
            .map(|shard| Shard {
                server: SnapTunServer::seeded(
                    now,
                    secret.clone(),
                    Arc::clone(&registry),
                    Arc::clone(&guard),
                    Arc::clone(&handshake_limits),
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
            runs_since: now,
        }
    }

    pub(crate) fn owner_of(&self, remote: SocketAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.dispatch_key, remote).hash(&mut hasher);
        hasher.finish() as usize % self.shards.len()
    }

    /// Handles a datagram.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        datagram: &[u8],
        from: Endpoint,
    ) -> Result<(Fate, Option<Delivered>, Vec<Transmit>), Violation> {
        let owner = self.owner_of(from.remote);
        let shard = &mut self.shards[owner];
        let before = Before {
            was_stranger: !shard.server.has_tunnel(from.remote),
            waited: shard.server.waiting_packets(),
            restarts: shard.server.counters().restart_handshakes_started,
        };
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
        shard.hear(now, from, &fate);
        if let Fate::Consumed(consumed) = fate {
            shard.ledger.consume(consumed);
            if let Consumed::HandshakeAnswered { .. } = consumed {
                // After the type and the sender index.
                let ephemeral = datagram.get(8..40).and_then(|key| key.try_into().ok());
                if !ephemeral.is_some_and(|key| self.answered.insert(key)) {
                    return Err(Violation::AnsweredTwice { from: from.remote });
                }
            }
        }
        shard.check_sent(datagram, from.remote, &before)?;
        if let Some(delivered) = &delivered {
            self.check_session(now, from.remote, delivered.session)?;
        }
        let sent = self.take_sent(now, owner, Some(from.remote))?;
        Ok((fate, delivered, sent))
    }

    /// Sends a packet from SCION. Returns the identity of the tunnel.
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
        let is_unconfirmed = shard.tunnel_at(to).is_some_and(|tunnel| !tunnel.in_use);
        if fate == Fate::Encapsulated && is_unconfirmed {
            return Err(Violation::SentUnconfirmed { to });
        }
        if let Some(session) = session {
            shard.ledger.accept();
            self.check_session(now, to, session)?;
        }
        let sent = self.take_sent(now, owner, None)?;
        Ok((fate, session.map(|session| session.identity), sent))
    }

    /// Returns the shard with the earliest timer, and its time.
    pub(crate) fn next_timer(&self, clock: &Clock) -> (Duration, usize) {
        let timers = self.shards.iter().enumerate().map(|(number, shard)| {
            let at = clock.since_start(shard.server.next_timer());
            // In whole milliseconds, like all events.
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

    /// Returns the next move of a shard, and the shards to pass it to.
    pub(crate) fn next_move(&mut self) -> Option<(Move, Vec<usize>)> {
        let shards = self.shards.len();
        self.shards
            .iter_mut()
            .enumerate()
            .find_map(|(number, shard)| {
                let Event::Moved(moved) = shard.server.poll_event(false)? else {
                    return None;
                };
                Some((
                    moved,
                    (0..shards).filter(|other| *other != number).collect(),
                ))
            })
    }

    pub(crate) fn end_older_tunnels(&mut self, shard: usize, moved: &Move) {
        self.shards[shard].server.end_older_tunnels(moved);
    }

    /// Takes the datagrams to send from a shard. Cookie replies must go to the source of the current datagram, all
    /// others to tunnels with an authorized identity.
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

    /// Checks that a packet passed the tunnel of an address with the current session data of an authorized identity.
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

    /// Stops making tunnels.
    pub(crate) fn drain(&mut self) {
        self.is_draining = true;
        for shard in &mut self.shards {
            shard.server.drain();
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Ends the sessions of all shards.
    pub(crate) fn end_sessions(&mut self) {
        for shard in &mut self.shards {
            shard.server.end_sessions();
        }
    }

    /// Remembers the tunnels of the previous process.
    pub(crate) fn remember(&mut self, now: Instant, before: &Gateway) {
        for shard in &before.shards {
            for tunnel in shard.server.tunnels().filter(|tunnel| tunnel.in_use) {
                let owner = self.owner_of(tunnel.remote);
                let server = &mut self.shards[owner].server;
                // False for an identity that is no longer authorized.
                let _ = server.remember(now, tunnel.remote, *tunnel.identity);
            }
        }
    }

    /// Returns the identity of the tunnel at an address.
    pub(crate) fn holder_of(&self, remote: SocketAddr) -> Option<[u8; 32]> {
        let shard = &self.shards[self.owner_of(remote)];
        shard.tunnel_at(remote).map(|tunnel| *tunnel.identity)
    }

    /// Returns the age of the tunnel at an address, or zero without one.
    pub(crate) fn age_of(&self, remote: SocketAddr, now: Instant) -> Duration {
        let tunnel = self.shards[self.owner_of(remote)].tunnel_at(remote);
        tunnel.map_or(Duration::ZERO, |tunnel| {
            now.saturating_duration_since(tunnel.created_at)
        })
    }

    /// Returns true if a new tunnel of this identity at this address would have to replace another tunnel.
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

    /// Returns the counters of all shards.
    pub(crate) fn counters(&self) -> impl Iterator<Item = ShardCounters> {
        self.shards.iter().map(|shard| shard.server.counters())
    }
}

impl Shard {
    /// Records a message of a tunnel's peer.
    fn hear(&mut self, now: Instant, from: Endpoint, fate: &Fate) {
        let is_authentic = match fate {
            Fate::Delivered => true,
            Fate::Consumed(consumed) => match consumed {
                Consumed::HandshakeAnswered { new_tunnel } => !new_tunnel,
                Consumed::HandshakeCompleted | Consumed::Keepalive => true,
                Consumed::CookieReplySent | Consumed::CookieReceived => false,
            },
            Fate::Dropped(_) | Fate::Encapsulated | Fate::Waiting => false,
        };
        let used = self.tunnel_at(from.remote).filter(|tunnel| tunnel.in_use);
        if let Some(tunnel) = used.filter(|_| is_authentic) {
            let talking = Talking {
                identity: *tunnel.identity,
                heard_at: now,
                via: from.via,
            };
            self.talking.insert(from.remote, talking);
        }
    }

    /// Checks the number, size and destinations of the datagrams caused by one datagram.
    fn check_sent(
        &self,
        datagram: &[u8],
        from: SocketAddr,
        before: &Before,
    ) -> Result<(), Violation> {
        // One due to timers, one answer, and the waiting packets after the answer.
        let most = if before.was_stranger {
            1
        } else {
            2 + before.waited
        };
        let lengths = self.sent.iter().map(|transmit| transmit.packet.len());
        let bytes: usize = lengths.sum();
        // A handshake begun with a client of the previous process is longer than the client's keepalive.
        let is_restart = self.server.counters().restart_handshakes_started > before.restarts;
        let is_amplified = before.was_stranger && !is_restart && bytes > datagram.len();
        let goes_elsewhere = self.sent.iter().any(|t| t.to.remote != from);
        if self.sent.len() > most || is_amplified || goes_elsewhere {
            return Err(Violation::SentTooMuch {
                from,
                datagrams: self.sent.len(),
                bytes,
            });
        }
        Ok(())
    }

    fn tunnel_at(&self, remote: SocketAddr) -> Option<TunnelView<'_>> {
        self.server.tunnels().find(|tunnel| tunnel.remote == remote)
    }
}

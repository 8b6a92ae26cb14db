//! The gateway under test: some shards that share a replay guard, and the ledger of each.

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
    /// Which shard owns which address follows from this.
    dispatch_key: u64,
    /// The ephemeral keys of the initiations that were answered.
    answered: HashSet<[u8; 32]>,
    is_draining: bool,
}

pub(crate) struct Shard {
    pub(crate) server: SnapTunServer<Registry>,
    pub(crate) ledger: Ledger,
    /// What is to be sent.
    sent: VecDeque<Transmit>,
    /// When the peers of the tunnels that are used were last heard from.
    pub(crate) talking: BTreeMap<SocketAddr, Talking>,
    /// How it was when the tunnels were last inspected.
    pub(crate) inspected: Inspected,
}

/// A tunnel that its peer has used.
pub(crate) struct Talking {
    pub(crate) identity: [u8; 32],
    pub(crate) heard_at: Instant,
    /// The address of ours that it talked to.
    via: Via,
}

/// How it was before a datagram came.
struct Before {
    /// There was no tunnel where it came from.
    was_stranger: bool,
    waited: usize,
    restarts: u64,
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
                // Behind the type and the sender's index.
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

    /// What the shards counted, one after the other.
    pub(crate) fn counters(&self) -> impl Iterator<Item = ShardCounters> {
        self.shards.iter().map(|shard| shard.server.counters())
    }
}

impl Shard {
    /// Remembers that the peer of a tunnel was heard from, if it was.
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

    /// Checks how much is to be sent because of one datagram, and where to.
    fn check_sent(
        &self,
        datagram: &[u8],
        from: SocketAddr,
        before: &Before,
    ) -> Result<(), Violation> {
        // What timers had due, and an answer; what waited follows an answer.
        let most = if before.was_stranger {
            1
        } else {
            2 + before.waited
        };
        let lengths = self.sent.iter().map(|transmit| transmit.packet.len());
        let bytes: usize = lengths.sum();
        // A peer of the process before is asked for a handshake, which is longer than its keepalive.
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

//! The shard.

mod admit;
mod drain;
mod events;
mod handshake;
mod incoming;
mod outgoing;
mod reopen;
mod restart;
mod room;
mod screening;
mod timers;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ana_gotatun::noise::index_table::IndexTable;
use rand::rngs::StdRng;
use x25519_dalek::PublicKey;

use crate::admission::Admission;
use crate::admission::handshake_limits::HandshakeLimits;
use crate::admission::replay_guard::ReplayGuard;
use crate::authorization::SnapTunAuthorization;
use crate::census::Census;
use crate::config::ShardConfig;
use crate::counters::ShardCounters;
use crate::crypto::initiation::InitiationOpener;
use crate::crypto::key_agreement::AgreementKey;
use crate::crypto::randomness::Randomness;
use crate::crypto::stack::on_wiped_stack;
use crate::crypto::static_key::StaticKey;
use crate::event::{DirectoryChange, Events};
use crate::restart_queue::RestartQueue;
use crate::timer_round::TimerRound;
use crate::tunnel::Tunnel;
use crate::tunnel::waiting_queue::WaitingTotals;
use crate::tunnel_table::{Slot, TunnelTable};

/// One shard: the tunnels of one worker. See the [crate documentation](crate) for its use.
///
/// It is `Send` if the authorization `A` is `Send` and `Sync` and its session data is `Send`, so it can be created on
/// one thread and used on another. Dropping it discards its tunnels and waiting packets without notice to the clients:
/// WireGuard has no message that ends a tunnel.
pub struct SnapTunServer<A: SnapTunAuthorization> {
    static_private: StaticKey,
    agreement_key: AgreementKey,
    static_public: PublicKey,
    opener: InitiationOpener,
    replay_guard: Arc<ReplayGuard>,
    authorization: Arc<A>,
    /// Authorization generation at the start of the batch.
    generation: u64,
    /// [`SnapTunAuthorization::new_grants`] at the start of the batch.
    new_grants: u64,
    config: ShardConfig,
    /// Set while the shard makes no new tunnels.
    draining: bool,
    /// Number of the first tunnel that was made after the last [`end_sessions`](Self::end_sessions).
    first_valid: u64,
    admission: Admission,
    /// Shared by all tunnels, which saves a generator and a set of indices per tunnel. Tunnels are found by address, so
    /// their indices need not be unique.
    session_indices: IndexTable,
    /// Seeds the timer jitter of each tunnel. Clients see the jitter: a weaker generator would show which tunnels
    /// belong to one shard.
    jitter: StdRng,
    tunnels: TunnelTable<A::SessionData>,
    census: Census,
    /// Slot at which the last search for a silent tunnel ended.
    silent_search_at: usize,
    events: Events<A::SessionData>,
    restart: RestartQueue,
    waiting: WaitingTotals,
    timer_round: TimerRound,
    counters: ShardCounters,
}

/// Snapshot of a tunnel for inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelView<'a> {
    /// Remote address, which identifies the tunnel.
    pub remote: SocketAddr,
    /// Public key of the peer.
    pub identity: &'a [u8; 32],
    /// Creation time.
    pub created_at: Instant,
    /// False while the tunnel is [half-open](SnapTunServer::half_open_tunnels): its peer has not used it yet. Stays
    /// true while the tunnel is silent.
    pub in_use: bool,
}

/// Reason for the removal of a tunnel.
#[derive(Clone, Copy)]
pub(crate) enum Removal {
    Expired,
    Revoked,
    /// Another client takes over the address.
    Replaced,
    /// A limit of tunnels is reached.
    Evicted,
    /// The identity uses a newer tunnel.
    Moved,
    /// Its sessions may no longer be used. A new handshake begins.
    Reopened,
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Creates a shard without tunnels.
    ///
    /// All shards of a gateway take the same `static_private`, the key that clients know the gateway by, and the same
    /// `authorization`, `replay_guard`, `handshake_limits` and `now`: with different times, the renewal of cookies
    /// would show clients which shard they belong to.
    ///
    /// Calls [`generation`](SnapTunAuthorization::generation) and [`new_grants`](SnapTunAuthorization::new_grants) once.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no random numbers.
    pub fn new(
        now: Instant,
        static_private: impl Into<StaticKey>,
        authorization: Arc<A>,
        replay_guard: Arc<ReplayGuard>,
        handshake_limits: Arc<HandshakeLimits>,
        config: ShardConfig,
    ) -> Self {
        let randomness = Randomness::of_the_system();
        Self::with_randomness(
            now,
            static_private.into(),
            authorization,
            replay_guard,
            handshake_limits,
            config,
            randomness,
        )
    }

    /// Like [`new`](Self::new), with hashers, draws and jitter derived from `seed`, for simulations only.
    #[cfg(feature = "simulation")]
    pub fn seeded(
        now: Instant,
        static_private: impl Into<StaticKey>,
        authorization: Arc<A>,
        replay_guard: Arc<ReplayGuard>,
        handshake_limits: Arc<HandshakeLimits>,
        config: ShardConfig,
        seed: u64,
    ) -> Self {
        let randomness = Randomness::of_seed(seed);
        Self::with_randomness(
            now,
            static_private.into(),
            authorization,
            replay_guard,
            handshake_limits,
            config,
            randomness,
        )
    }

    fn with_randomness(
        now: Instant,
        static_private: StaticKey,
        authorization: Arc<A>,
        replay_guard: Arc<ReplayGuard>,
        handshake_limits: Arc<HandshakeLimits>,
        config: ShardConfig,
        mut randomness: Randomness,
    ) -> Self {
        let static_public = static_private.public_key();
        let generation = authorization.generation();
        let new_grants = authorization.new_grants();
        SnapTunServer {
            opener: InitiationOpener::new(&static_public),
            replay_guard,
            admission: on_wiped_stack(|| {
                Admission::new(
                    now,
                    &static_private,
                    &static_public,
                    handshake_limits,
                    &mut randomness,
                )
            }),
            session_indices: IndexTable::from_rng(randomness.generator()),
            jitter: randomness.generator(),
            tunnels: TunnelTable::new(),
            census: Census::default(),
            silent_search_at: 0,
            events: Events::new(config.directory_changes, config.usage_records),
            restart: RestartQueue::new(now, &config, new_grants),
            waiting: WaitingTotals::default(),
            timer_round: TimerRound::new(now, config.timer_round, generation),
            counters: ShardCounters::default(),
            generation,
            new_grants,
            agreement_key: on_wiped_stack(|| AgreementKey::new(static_private.as_bytes())),
            static_private,
            static_public,
            authorization,
            config,
            draining: false,
            first_valid: 0,
        }
    }

    /// Begins a batch: messages handled until the next call see the authorization changes made before this one. Call it
    /// once per turn, not for each datagram.
    ///
    /// Calls [`generation`](SnapTunAuthorization::generation) and [`new_grants`](SnapTunAuthorization::new_grants).
    /// Without this call, a shard does not notice that an identity was revoked.
    pub fn start_batch(&mut self) {
        self.generation = self.authorization.generation();
        self.new_grants = self.authorization.new_grants();
    }

    /// Returns true if the address has a tunnel, with or without a session.
    #[must_use]
    pub fn has_tunnel(&self, remote: SocketAddr) -> bool {
        self.tunnels.find(remote).is_some()
    }

    /// Returns true if the address has a tunnel that its client has used. Otherwise its datagrams may have had a spoofed
    /// source.
    #[must_use]
    pub fn has_tunnel_in_use(&self, remote: SocketAddr) -> bool {
        let slot = self.tunnels.find(remote);
        let tunnel = slot.and_then(|slot| self.tunnels.get(slot));
        tunnel.is_some_and(Tunnel::is_in_use)
    }

    /// Returns all tunnels, in no particular order. Visits each of them, at one cache miss each, so it is meant for
    /// inspection and for the last moment of a process.
    pub fn tunnels(&self) -> impl Iterator<Item = TunnelView<'_>> {
        self.tunnels.iter().map(|tunnel| TunnelView {
            remote: tunnel.endpoint().remote,
            identity: tunnel.identity(),
            created_at: tunnel.created_at(),
            in_use: tunnel.is_in_use(),
        })
    }

    /// Returns the number of tunnels.
    #[must_use]
    pub fn tunnel_count(&self) -> usize {
        self.tunnels.len()
    }

    /// Returns the number of half-open tunnels: answered, but not yet used by their peer, or begun by the shard with a
    /// remembered client that has not responded yet.
    #[must_use]
    pub fn half_open_tunnels(&self) -> usize {
        self.census.half_open()
    }

    /// Returns the number of packets waiting for a session, in all tunnels.
    #[must_use]
    pub fn waiting_packets(&self) -> usize {
        self.waiting.packets
    }

    /// Returns the number of bytes of [`waiting_packets`](Self::waiting_packets).
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.bytes
    }

    /// Returns the event counters.
    #[must_use]
    pub fn counters(&self) -> ShardCounters {
        ShardCounters {
            overloaded_seconds: self.admission.overloaded_seconds(),
            ..self.counters
        }
    }

    /// Removes a tunnel and returns it, without its waiting packets.
    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        removal: Removal,
    ) -> Option<Box<Tunnel<A::SessionData>>> {
        let mut tunnel = self.tunnels.remove(slot)?;
        self.census.remove(slot, &tunnel);
        self.events.push_usage(|| tunnel.usage());
        if tunnel.is_in_directory() {
            let remote = tunnel.endpoint().remote;
            self.events.push_directory(DirectoryChange::Gone { remote });
        }
        let discarded = tunnel.discard_waiting(&mut self.waiting);
        match removal {
            Removal::Expired => {
                self.counters.tunnels_expired += 1;
                self.counters.waiting_discarded_expired += discarded;
            }
            Removal::Revoked => {
                self.counters.tunnels_revoked += 1;
                self.counters.waiting_discarded_revoked += discarded;
            }
            Removal::Replaced => {
                self.counters.tunnels_replaced += 1;
                self.counters.waiting_discarded_displaced += discarded;
            }
            Removal::Moved => {
                self.counters.tunnels_moved += 1;
                self.counters.waiting_discarded_displaced += discarded;
            }
            Removal::Evicted => {
                self.counters.tunnels_evicted += 1;
                self.counters.waiting_discarded_displaced += discarded;
            }
            Removal::Reopened => {
                self.counters.tunnels_reopened += 1;
                self.counters.waiting_discarded_expired += discarded;
            }
        }
        Some(tunnel)
    }
}

impl<A: SnapTunAuthorization> fmt::Debug for SnapTunServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapTunServer")
            .field("static_public", &self.static_public)
            .field("tunnels", &self.tunnels.len())
            .field("waiting_packets", &self.waiting.packets)
            .finish_non_exhaustive()
    }
}

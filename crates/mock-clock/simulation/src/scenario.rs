//! Scenario of a seed: clients, faults and their rates.
//!
//! Every seed leaves out some faults and amplifies others, so that rare combinations occur: with all faults at once,
//! one hides another.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore};
use snaptun::ShardConfig;

use crate::clock::Ahead;

/// Maximum delay of the network. Shorter than the time between two initiations of one side, so that none overtakes the
/// next.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(4);

/// Scenario of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) shards: usize,
    pub(crate) limits: ShardConfig,
    /// Minimum number of identities that the replay guard remembers.
    pub(crate) guarded_identities: usize,
    pub(crate) clients: usize,
    pub(crate) sockets_per_identity: usize,
    /// Clock error of some identities.
    pub(crate) clock_error: Option<Duration>,
    pub(crate) network: Conditions,
    /// Mean time between two packets of a client.
    pub(crate) pause: Duration,
    /// Probability that a roaming client gets an address that another client gave up.
    pub(crate) address_reuse: f64,
    /// Probability that a new client shares the IP address of others.
    pub(crate) shared_ips: f64,
    /// Faults with their mean intervals.
    pub(crate) disturbances: Vec<(Disturbance, Duration)>,
    /// Set if the limits are too low to serve all clients.
    pub(crate) is_crowded: bool,
}

/// Faults of the network.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) damage: f64,
    pub(crate) delay_millis: RangeInclusive<u64>,
}

impl Conditions {
    /// A network without faults.
    pub(crate) const FAULT_FREE: Conditions = Conditions {
        loss: 0.0,
        duplication: 0.0,
        damage: 0.0,
        delay_millis: 5..=40,
    };
}

/// Fault or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Disturbance {
    /// A client's NAT gives it another address.
    Roam,
    /// Two clients behind NATs swap their addresses.
    Swap,
    /// A client uses another address of the gateway in the same session.
    OtherWay,
    /// A client's process ends and starts again with the same key.
    ClientRestart,
    /// A client is cut off from the network for a while.
    CutOff,
    /// A client's host sleeps.
    Sleep,
    /// All clients are quiet for a long time.
    QuietHour,
    /// The gateway restarts, at once or after a drain. The new process may remember the tunnels of the old one.
    GatewayRestart,
    /// The gateway's host is suspended.
    Suspend,
    /// The gateway ends all sessions, as after its virtual machine was restored from a snapshot.
    EndSessions,
    /// An identity loses its authorization and gets it back later.
    Revoke,
    /// An identity gets a grant with an end.
    Expire,
    /// The session data of an identity change.
    ChangeSession,
    /// An attacker floods the gateway.
    Flood(Flood),
}

/// Datagrams of an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flood {
    /// Random bytes.
    Garbage,
    /// Messages of clients' sessions with forged counters and contents.
    Forgeries,
    /// Initiations of unauthorized identities, from random addresses.
    Strangers,
    /// Replayed datagrams, from random addresses.
    Replays,
    /// Initiations of one authorized identity, each from a new address.
    ManyTunnels,
}

impl Scenario {
    pub(crate) fn of(rng: &mut StdRng) -> Self {
        let is_crowded = rng.random_bool(0.3);
        let clients = rng.random_range(4..=if is_crowded { 8 } else { 16 });
        // An identity that roams may have only one socket.
        let one_tunnel_per_identity = rng.random_bool(0.3);
        let sockets_per_identity = if one_tunnel_per_identity {
            1
        } else {
            *[1, 1, 2, 4].choose(rng).unwrap_or(&1)
        };
        let mut limits = ShardConfig {
            one_tunnel_per_identity,
            handshakes_per_ip_per_second: pick(rng, [1, 4, 100]),
            handshakes_per_second: pick(rng, [1, 8, 2_000]),
            silent_after: Duration::from_secs(pick(rng, [21, 35, 35, 60])),
            waiting_packets_per_tunnel: pick(rng, [1, 4, 256]),
            waiting_bytes_per_tunnel: pick(rng, [1_400, 1 << 18]),
            waiting_bytes_per_identity: pick(rng, [2_000, 1 << 20]),
            waiting_bytes_half_open: pick(rng, [2_000, 1 << 23]),
            waiting_bytes_per_shard: pick(rng, [3_000, 1 << 26]),
            timer_round: Duration::from_millis(pick(rng, [100, 250, 250])),
            ..ShardConfig::default()
        };
        if is_crowded {
            limits.tunnels_per_shard = pick(rng, [1, 3, 8]);
            limits.tunnels_per_identity = pick(rng, [1, 2]);
            limits.half_open_tunnels = pick(rng, [1, 2]);
            limits.handshakes_per_identity_per_second = pick(rng, [1, 4, 64]);
            limits.verified_handshakes_per_second = pick(rng, [1, 8]);
            limits.verified_handshakes_per_ip_per_second = pick(rng, [1, 8]);
        } else {
            // Room for the insider's maximum number of tunnels and one per client. All others are silent.
            limits.tunnels_per_identity = pick(rng, [4, 8, 64]);
            limits.tunnels_per_shard = pick(rng, [clients + limits.tunnels_per_identity, 1 << 17]);
            limits.half_open_tunnels = pick(rng, [20, 2_048]);
            limits.verified_handshakes_per_second = pick(rng, [20, 4_000]);
            limits.verified_handshakes_per_ip_per_second = pick(rng, [20, 1_000]);
        }
        let slowest = pick(rng, [20, 100, 500, DELAY_MAX.as_millis() as u64]);
        Scenario {
            shards: rng.random_range(1..=4),
            limits,
            guarded_identities: pick(rng, [1, 64, 1 << 18]),
            clients,
            sockets_per_identity,
            clock_error: sometimes(rng, 0.3, |rng| {
                Duration::from_secs(rng.random_range(1..600))
            }),
            network: Conditions {
                loss: sometimes(rng, 0.6, |rng| rng.random_range(0.0..0.3)).unwrap_or(0.0),
                duplication: sometimes(rng, 0.5, |rng| rng.random_range(0.0..0.2)).unwrap_or(0.0),
                damage: sometimes(rng, 0.3, |rng| rng.random_range(0.0..0.05)).unwrap_or(0.0),
                delay_millis: pick(rng, [2, 2, 50]).min(slowest)..=slowest,
            },
            pause: Duration::from_secs(pick(rng, [3, 10, 30, 200])),
            address_reuse: pick(rng, [0.0, 0.3, 0.9]),
            shared_ips: pick(rng, [0.0, 0.5, 1.0]),
            disturbances: disturbances(rng),
            is_crowded,
        }
    }

    pub(crate) fn identities(&self) -> usize {
        self.clients.div_ceil(self.sockets_per_identity)
    }

    pub(crate) fn identity_of(&self, client: usize) -> usize {
        client / self.sockets_per_identity
    }

    /// Returns the clock of an identity: with clock errors, every third is fast and every third slow.
    pub(crate) fn clock_of(&self, identity: usize) -> Ahead {
        match (self.clock_error, identity % 3) {
            (Some(error), 1) => Ahead::By(error),
            (Some(error), 2) => Ahead::ButBehindBy(error),
            _ => Ahead::RIGHT,
        }
    }
}

fn disturbances(rng: &mut StdRng) -> Vec<(Disturbance, Duration)> {
    use Disturbance as D;
    // With the longest mean interval in seconds. Handshake floods are rare because they are expensive for the
    // simulation, which computes both sides.
    let kinds = [
        (D::Roam, 600),
        (D::Swap, 900),
        (D::OtherWay, 600),
        (D::ClientRestart, 600),
        (D::CutOff, 600),
        (D::Sleep, 900),
        (D::QuietHour, 3_000),
        (D::GatewayRestart, 1_800),
        (D::Suspend, 1_800),
        (D::EndSessions, 1_800),
        (D::Revoke, 600),
        (D::Expire, 600),
        (D::ChangeSession, 600),
        (D::Flood(Flood::Garbage), 600),
        (D::Flood(Flood::Forgeries), 600),
        (D::Flood(Flood::Strangers), 1_200),
        (D::Flood(Flood::Replays), 600),
        (D::Flood(Flood::ManyTunnels), 1_800),
    ];
    let mut chosen = Vec::new();
    for (kind, most) in kinds {
        if rng.random_bool(0.5) {
            let mean = rng.random_range(most / 10..=most);
            chosen.push((kind, Duration::from_secs(mean)));
        }
    }
    chosen
}

fn pick<T: Copy, const N: usize>(rng: &mut StdRng, from: [T; N]) -> T {
    const { assert!(N > 0) };
    from[rng.random_range(0..N)]
}

fn sometimes<T>(
    rng: &mut StdRng,
    probability: f64,
    make: impl FnOnce(&mut StdRng) -> T,
) -> Option<T> {
    // Drawn unconditionally, so that the rest of the scenario does not depend on the outcome.
    let value = make(rng);
    rng.random_bool(probability).then_some(value)
}

/// Returns a random time with this mean, in whole milliseconds and at least two.
pub(crate) fn some_time(rng: &mut impl RngCore, mean: Duration) -> Duration {
    let mean = mean.as_millis() as u64;
    Duration::from_millis(2 + rng.random_range(0..=2 * mean))
}

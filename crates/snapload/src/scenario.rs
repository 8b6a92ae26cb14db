//! Scenarios: consecutive phases of populations that act at the same time, with a verdict.
//!
//! A population is a [`Load`] of honest tunnels or [`Garbage`]. A load becomes a [`LoadConfig`](crate::LoadConfig) and
//! runs in the same engine as a single run; garbage has its own sockets and thread. The populations of a phase start
//! together, and no identity is used by two populations.

mod check;
mod file;
mod forgery;
mod garbage;
mod run;
mod start_gate;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::garbage::GarbageReport;
pub use self::run::{LoadReport, PhaseReport, ScenarioError, ScenarioProgress, ScenarioReport};
use crate::config::{Presence, Rate, Shares};
use crate::report;

/// A sequence of phases.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Short description.
    pub title: String,
    /// Default SNAPtun listen address of the gateway.
    pub gateway: Option<SocketAddr>,
    /// Default public key of the gateway.
    pub public_key: Option<[u8; 32]>,
    /// Default seed of the keys.
    pub key_seed: Option<u64>,
    /// Source addresses of tunnels and garbage.
    pub source_ips: Option<IpNet>,
    /// Phases; not empty.
    pub phases: Vec<Phase>,
}

/// Populations that act at the same time.
#[derive(Clone, PartialEq, Debug)]
pub struct Phase {
    /// Name.
    pub name: String,
    /// Duration of the measurement, in which packets are sent and counted.
    pub duration: Duration,
    /// Duration of the warm-up before it, in which packets are sent but not counted.
    pub warm_up: Duration,
    /// How long to wait for the last replies.
    pub drain: Duration,
    /// Honest tunnels; not empty.
    pub loads: Vec<Load>,
    /// Attackers.
    pub garbage: Vec<Garbage>,
}

/// Honest tunnels that send packets and receive their echoes.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    /// Name.
    pub name: String,
    /// Number of tunnels at a time.
    pub tunnels: usize,
    /// Rate over all tunnels, as an open loop.
    pub rate: Rate,
    /// Size of the SCION packets in bytes.
    pub size: usize,
    /// Number of packets sent back to back on one tunnel.
    pub train: u32,
    /// Number of threads that share the tunnels.
    pub threads: usize,
    /// How the tunnels share the rate.
    pub shares: Shares,
    /// When tunnels connect and leave.
    pub presence: Presence,
    /// Time from the start of the phase at which all tunnels begin a new handshake.
    pub rekey_at: Option<Duration>,
    /// Limits that the result must keep.
    pub checks: Checks,
}

/// Datagrams that no honest client sends.
#[derive(Clone, PartialEq, Debug)]
pub struct Garbage {
    /// Name.
    pub name: String,
    /// Kinds of datagrams, sent in turn; not empty.
    pub kinds: Vec<GarbageKind>,
    /// Datagrams per second.
    pub pps: f64,
    /// Number of sockets, used in turn.
    pub sockets: usize,
    /// Maximum number of answers.
    pub max_answers: Option<u64>,
}

impl Garbage {
    /// Maximum number of sockets, since file descriptors are limited.
    pub const MAX_SOCKETS: usize = 4096;
}

/// Kind of garbage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GarbageKind {
    /// Random bytes of random length.
    Random,
    /// Messages truncated at a random byte.
    Truncated,
    /// Handshake initiations of unknown clients with a correct mac1, so that the gateway does all of the cryptography
    /// before it rejects them.
    ForgedInitiation,
    /// Data messages to random sessions with random counters.
    ForgedData,
    /// Messages that a real tunnel sent before, from other addresses: its initiation and its data.
    Replay,
}

impl fmt::Display for GarbageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random bytes",
            Self::Truncated => "truncated messages",
            Self::ForgedInitiation => "forged initiations",
            Self::ForgedData => "forged data",
            Self::Replay => "replays",
        })
    }
}

/// Limits that a load must keep.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Checks {
    /// Limits of a single run: loss and latency.
    pub run: report::Checks,
    /// Longest time from the scheduled start of a handshake to its session.
    pub max_connect: Option<Duration>,
    /// Lowest rate of a ramp, in packets per second, at which loss may begin.
    pub loss_free_pps: Option<f64>,
    /// Lower limits of counts.
    pub min: BTreeMap<CountName, u64>,
    /// Upper limits of counts.
    pub max: BTreeMap<CountName, u64>,
}

/// A count of a load that can be checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CountName {
    /// Packets sent.
    Sent,
    /// Packets that came back intact.
    Received,
    /// Packets that did not come back.
    Lost,
    /// Further copies of packets that had come back.
    Duplicated,
    /// Packets that came back after one that was sent later.
    Reordered,
    /// Packets that came back changed.
    Corrupted,
    /// Packets that came back in another tunnel.
    Misdelivered,
    /// Datagrams that tunnels refused.
    Refused,
    /// Tunnels that connected, before or during the phase.
    Connected,
    /// Tunnels that were replaced during the phase.
    Departed,
    /// Tunnels that completed a commanded handshake.
    Rekeyed,
    /// Tunnels without a session at the end.
    Unconnected,
}

impl Load {
    /// Returns the number of identities: one per tunnel and, with turnover, per replacement during the phase.
    fn identities_needed(&self, duration: Duration) -> usize {
        match self.presence {
            Presence::Throughout | Presence::AtOnce { .. } => self.tunnels,
            Presence::Turnover { lifetime, .. } => {
                let generations = duration.as_secs_f64() / lifetime.as_secs_f64();
                let newcomers = (self.tunnels as f64 * generations).ceil() as usize;
                self.tunnels.saturating_add(newcomers)
            }
        }
    }
}

impl Scenario {
    /// Returns the number of identities that the gateway must authorize.
    #[must_use]
    pub fn identities_needed(&self) -> usize {
        self.phases.iter().map(Phase::identities_needed).sum()
    }
}

impl Phase {
    fn identities_needed(&self) -> usize {
        let loads = self
            .loads
            .iter()
            .map(|load| load.identities_needed(self.duration));
        let garbage = self.garbage.iter().map(Garbage::identities_needed);
        loads.chain(garbage).sum()
    }
}

impl Garbage {
    /// Replays need one real tunnel.
    fn identities_needed(&self) -> usize {
        usize::from(self.kinds.contains(&GarbageKind::Replay))
    }
}

//! Scenarios: phases, one after the other, of populations that act at the same time, with a
//! verdict.
//!
//! A population is a [`Load`] of honest tunnels or [`Garbage`]. Both are data: a load becomes a
//! [`LoadConfig`](crate::LoadConfig) and runs in the same engine as a simple run; garbage has its
//! own sockets and thread. Populations of a phase wait for each other and begin together. No
//! identity is used by two populations.

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

pub use self::file::ScenarioFileError;
pub use self::garbage::GarbageReport;
pub use self::run::{LoadReport, PhaseReport, ScenarioError, ScenarioProgress, ScenarioReport};
use crate::config::{Presence, Rate, Shares};

/// Phases, one after the other.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// What it is, in a few words.
    pub title: String,
    /// Where the gateway listens, unless told otherwise.
    pub gateway: Option<SocketAddr>,
    /// The gateway's public key, unless told otherwise.
    pub public_key: Option<[u8; 32]>,
    /// The number the keys are made from, unless told otherwise.
    pub key_seed: Option<u64>,
    /// The addresses of tunnels and garbage.
    pub source_ips: Option<IpNet>,
    /// What happens; not empty.
    pub phases: Vec<Phase>,
}

/// Populations that act at the same time.
#[derive(Clone, PartialEq, Debug)]
pub struct Phase {
    /// What to call it.
    pub name: String,
    /// How long packets are sent and counted.
    pub duration: Duration,
    /// How long packets are sent before that without being counted.
    pub warm_up: Duration,
    /// How long the last replies are waited for.
    pub drain: Duration,
    /// Honest tunnels; not empty.
    pub loads: Vec<Load>,
    /// Attackers.
    pub garbage: Vec<Garbage>,
}

/// Honest tunnels that send packets and get them back.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    /// What to call it.
    pub name: String,
    /// Tunnels at a time.
    pub tunnels: usize,
    /// Packets over all tunnels, as an open loop.
    pub rate: Rate,
    /// Size of the SCION packets in bytes.
    pub size: usize,
    /// Packets sent back to back on a tunnel.
    pub train: u32,
    /// Threads that share the tunnels.
    pub threads: usize,
    /// How tunnels share the rate.
    pub shares: Shares,
    /// When tunnels come and go.
    pub presence: Presence,
    /// When all tunnels begin a new handshake, after the beginning of the phase.
    pub rekey_at: Option<Duration>,
    /// What has to hold.
    pub checks: Checks,
}

/// Datagrams that no honest client sends.
#[derive(Clone, PartialEq, Debug)]
pub struct Garbage {
    /// What to call it.
    pub name: String,
    /// What is sent, in turn; not empty.
    pub kinds: Vec<GarbageKind>,
    /// Datagrams a second.
    pub pps: f64,
    /// Sockets they come from, in turn.
    pub sockets: usize,
    /// How many answers may come back.
    pub max_answers: Option<u64>,
}

impl Garbage {
    /// The most sockets it may have: file descriptors are scarce.
    pub const MAX_SOCKETS: usize = 4096;
}

/// A kind of garbage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GarbageKind {
    /// Random bytes of random length.
    Random,
    /// The beginnings of messages, cut off anywhere.
    Truncated,
    /// Handshake initiations from strangers, with a right mac1, so that the gateway has to do all of
    /// the cryptography before it knows.
    ForgedInitiation,
    /// Data messages to random sessions with random counters.
    ForgedData,
    /// What a real tunnel sent before, from other addresses: its initiation and its data.
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

/// What a load has to keep to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Checks {
    /// The largest share of packets that may be lost, 0 to 1.
    pub max_loss_share: Option<f64>,
    /// The longest 99th percentile of the round-trip times.
    pub max_p99: Option<Duration>,
    /// The longest time from when a handshake was to begin to its session.
    pub max_connect: Option<Duration>,
    /// With a ramp: the lowest rate, in packets a second, at which loss may begin.
    pub loss_free_pps: Option<f64>,
    /// Counts that are at least so high.
    pub min: BTreeMap<CountName, u64>,
    /// Counts that are at most so high.
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
    /// Packets that did not.
    Lost,
    /// Packets that came back once more.
    Duplicated,
    /// Packets that were overtaken.
    Reordered,
    /// Packets that came back changed.
    Corrupted,
    /// Packets that came back in another tunnel.
    Misdelivered,
    /// Datagrams that tunnels refused.
    Refused,
    /// Tunnels that connected, before and during the phase.
    Connected,
    /// Tunnels that left during the phase.
    Departed,
    /// Tunnels that completed a handshake they were told to begin.
    Rekeyed,
    /// Tunnels without a session at the end.
    Unconnected,
}

impl Load {
    /// Those of the tunnels at a time, and with turnover those of the tunnels that come during a phase.
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
    /// How many identities the gateway has to authorize.
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
    /// What is replayed was real once.
    fn identities_needed(&self) -> usize {
        usize::from(self.kinds.contains(&GarbageKind::Replay))
    }
}

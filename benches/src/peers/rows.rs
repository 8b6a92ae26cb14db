//! The rows of the table.

mod handshakes;
mod idle;
mod latency;
mod packets;
mod workers;

use clap::ValueEnum;

use super::result::Measured;
use crate::harness::entry::Entry;
use crate::harness::error::BenchError;
use crate::harness::run::Run;

/// A row of the table; some have several lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Row {
    /// CPU per packet: one tunnel, trains of 16, to a router
    Forward,
    /// CPU per packet: one tunnel, trains of 16, back into the tunnel
    Echo,
    /// CPU per packet: 100 tunnels in turn, to a router
    #[value(name = "forward-100")]
    Forward100,
    /// CPU per packet: 10,000 tunnels in turn, against 100
    #[value(name = "forward-10k")]
    Forward10k,
    /// CPU per packet: 64, 512, 8900 bytes, and IMIX
    Sizes,
    /// CPU per packet and delivered rate: 2 workers against 1
    #[value(name = "workers-2")]
    Workers2,
    /// CPU per packet: 8 workers on all CPUs against 1
    #[value(name = "workers-8")]
    Workers8,
    /// CPU, memory, and another tunnel's latency with 100,000 idle tunnels
    #[value(name = "idle-100k")]
    Idle100k,
    /// CPU per handshake of a storm of new identities
    Handshakes,
    /// latency at half of the loss-free rate
    Latency,
}

impl Entry for Row {}

impl Row {
    /// Whether it has a figure that is compared with a baseline.
    pub(crate) fn has_baseline(self) -> bool {
        self != Self::Latency
    }

    pub(crate) fn measure(self, run: &Run) -> Result<Vec<Measured>, BenchError> {
        match self {
            Self::Forward => packets::forward(run),
            Self::Echo => packets::echo(run),
            Self::Forward100 => packets::forward_100(run),
            Self::Forward10k => packets::forward_10k(run),
            Self::Sizes => packets::sizes(run),
            Self::Workers2 => workers::two_against_one(run),
            Self::Workers8 => workers::eight_against_one(run),
            Self::Idle100k => idle::measure(run),
            Self::Handshakes => handshakes::measure(run),
            Self::Latency => latency::measure(run),
        }
    }
}

/// The unit of most rows.
const NS_PER_PACKET: &str = "ns/packet";

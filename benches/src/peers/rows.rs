//! Rows of the table.

mod handshakes;
mod idle;
mod latency;
mod packets;
mod registrations;
mod workers;

use clap::ValueEnum;

use super::result::Measured;
use crate::harness::entry::Entry;
use crate::harness::error::BenchError;
use crate::harness::run::Run;

/// A row of the table; some have several lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Row {
    /// CPU time per packet: one tunnel, trains of 16, to a router
    Forward,
    /// CPU time per packet: one tunnel, trains of 16, back into the tunnel
    Echo,
    /// CPU time per packet: 100 tunnels in rotation, to a router
    #[value(name = "forward-100")]
    Forward100,
    /// CPU time per packet: 10,000 tunnels in rotation, against 100
    #[value(name = "forward-10k")]
    Forward10k,
    /// CPU time per packet: 64, 512 and 8900 bytes, and IMIX
    Sizes,
    /// CPU time per packet and delivered rate: 2 workers against 1
    #[value(name = "workers-2")]
    Workers2,
    /// CPU time per packet: 8 workers on all CPUs against 1
    #[value(name = "workers-8")]
    Workers8,
    /// CPU time and memory of 100,000 idle tunnels, and the latency of another tunnel
    #[value(name = "idle-100k")]
    Idle100k,
    /// CPU time per handshake while 4,000 new identities connect
    Handshakes,
    /// a control plane: cost beside 100,000 registrations, 10,000 new ones beside packets, their end, the start
    Registrations,
    /// latency at half of the loss-free rate
    Latency,
}

impl Entry for Row {}

impl Row {
    /// Returns true if the row has a comparison with a baseline.
    pub(crate) fn has_baseline(self) -> bool {
        !matches!(self, Self::Registrations | Self::Latency)
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
            Self::Registrations => registrations::measure(run),
            Self::Latency => latency::measure(run),
        }
    }
}

/// Unit of most rows.
const NS_PER_PACKET: &str = "ns/packet";

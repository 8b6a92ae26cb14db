//! The rows of the table.

mod handshakes;
mod idle;
mod latency;
mod packets;
mod workers;

use clap::ValueEnum;

use super::arguments::Run;
use super::error::BenchError;
use super::result::Measured;

/// A row of the table; some have several lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Row {
    Forward,
    Echo,
    #[value(name = "forward-100")]
    Forward100,
    #[value(name = "forward-10k")]
    Forward10k,
    Sizes,
    #[value(name = "workers-2")]
    Workers2,
    #[value(name = "workers-8")]
    Workers8,
    #[value(name = "idle-100k")]
    Idle100k,
    Handshakes,
    Latency,
}

impl Row {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 10] = [
        Self::Forward,
        Self::Echo,
        Self::Forward100,
        Self::Forward10k,
        Self::Sizes,
        Self::Workers2,
        Self::Workers8,
        Self::Idle100k,
        Self::Handshakes,
        Self::Latency,
    ];

    /// What `--only` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Echo => "echo",
            Self::Forward100 => "forward-100",
            Self::Forward10k => "forward-10k",
            Self::Sizes => "sizes",
            Self::Workers2 => "workers-2",
            Self::Workers8 => "workers-8",
            Self::Idle100k => "idle-100k",
            Self::Handshakes => "handshakes",
            Self::Latency => "latency",
        }
    }

    /// What it measures, for `--list`.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Forward => "CPU per packet: one tunnel, trains of 16, to a router",
            Self::Echo => "CPU per packet: one tunnel, trains of 16, back into the tunnel",
            Self::Forward100 => "CPU per packet: 100 tunnels in turn, to a router",
            Self::Forward10k => "CPU per packet: 10,000 tunnels in turn, against 100",
            Self::Sizes => "CPU per packet: 64, 512, 8900 bytes, and IMIX",
            Self::Workers2 => "CPU per packet and delivered rate: 2 workers against 1",
            Self::Workers8 => "CPU per packet: 8 workers on all CPUs against 1",
            Self::Idle100k => "CPU, memory, and another tunnel's latency with 100,000 idle tunnels",
            Self::Handshakes => "CPU per handshake of a storm of new identities",
            Self::Latency => "latency at half of the loss-free rate",
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_rows_as_only_takes_them() {
        for row in Row::ALL {
            assert_eq!(Row::from_str(row.name(), false), Ok(row));
        }
        assert_eq!(Row::value_variants(), Row::ALL);
    }
}

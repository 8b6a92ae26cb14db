//! Tunnel lifetimes, and the distribution of the rate over tunnels.

use std::time::Duration;

/// When tunnels connect and leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// All tunnels connect before sending starts, and stay.
    Throughout,
    /// All tunnels start to connect at the same time during the measurement, and stay.
    AtOnce {
        /// Time from the start of counting.
        after: Duration,
    },
    /// A constant number of tunnels. Each is replaced at the end of its lifetime by one with the next identity and a
    /// new port. Departures are spread evenly. After the last identity the first is used again.
    Turnover {
        /// Number of tunnels at a time.
        tunnels: usize,
        /// Lifetime of a tunnel.
        lifetime: Duration,
    },
}

impl Presence {
    /// How long before its departure a tunnel stops sending, so that no packet is still on its way to it.
    pub(crate) const REST: Duration = Duration::from_millis(500);

    /// Shortest lifetime: a tunnel needs time to connect, to send and to rest.
    pub const MIN_LIFETIME: Duration = Duration::from_secs(1);
}

/// Distribution of the rate over tunnels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shares {
    /// All tunnels send at the same rate, in turn.
    Equal,
    /// Zipf's law: tunnel `n`, counted from 1, sends in proportion to `1 / n^s` with this exponent `s`, so a few
    /// tunnels send most packets.
    Zipf(f64),
}

impl Shares {
    /// Returns the weight of the tunnel with this index within the run.
    pub(crate) fn weight(self, tunnel: usize) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Zipf(exponent) => ((tunnel + 1) as f64).powf(-exponent),
        }
    }
}

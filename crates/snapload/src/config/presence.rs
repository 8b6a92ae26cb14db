//! When tunnels come and go, and how they share the rate.

use std::time::Duration;

/// When tunnels come and go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// All connect before anything is sent, and stay.
    Throughout,
    /// All begin to connect at the same time, so long after packets begin to be counted, and stay.
    AtOnce {
        /// After packets begin to be counted.
        after: Duration,
    },
    /// So many are there at a time. Each leaves after a while, and another, with the next identity
    /// and from a new port, takes its place. Departures are spread evenly. When all identities were
    /// used, the first one is used again.
    Turnover {
        /// Tunnels at a time.
        tunnels: usize,
        /// How long a tunnel stays.
        lifetime: Duration,
    },
}

impl Presence {
    /// A tunnel that leaves stops to send a little before that, so that nothing is on its way to it
    /// any more.
    pub(crate) const REST: Duration = Duration::from_millis(500);

    /// The shortest lifetime: connecting, sending and resting take their time.
    pub const MIN_LIFETIME: Duration = Duration::from_secs(1);
}

/// How tunnels share the rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shares {
    /// All send the same, in turn.
    Equal,
    /// Few send most: the tunnel at place `n`, counted from 1, sends in proportion to `1 / n^s` with
    /// this exponent `s` (Zipf's law).
    Zipf(f64),
}

impl Shares {
    /// The weight of the tunnel with this index within the run.
    pub(crate) fn weight(self, tunnel: usize) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Zipf(exponent) => ((tunnel + 1) as f64).powf(-exponent),
        }
    }
}

//! Planned events of the tunnels of a thread.

use std::collections::VecDeque;

use crate::pacing::Nanos;

/// Planned events of the tunnels of a thread.
#[derive(Default)]
pub(super) struct Attendance {
    /// Time at which all lanes start to connect.
    pub(super) connect_at: Option<Nanos>,
    /// Time at which all lanes begin another handshake.
    pub(super) rekey_at: Option<Nanos>,
    /// Time of the next departure, and the number of past ones.
    pub(super) departure_at: Option<Nanos>,
    pub(super) departures: u64,
    /// Lanes that stopped sending, with the times of their replacement.
    pub(super) resting: VecDeque<(Nanos, usize)>,
    /// Number of replacements in this thread.
    pub(super) newcomers: usize,
    /// Lanes that are to begin a handshake, with the scheduled times. Handshakes are measured from these, so that
    /// delays in the generator count, as for packets.
    pub(super) waiting: VecDeque<(Nanos, usize)>,
}

impl Attendance {
    /// Returns the time of the next event.
    pub(super) fn next_ns(&self) -> Nanos {
        if !self.waiting.is_empty() {
            return 0;
        }
        let replacement = self.resting.front().map(|&(at, _)| at);
        [
            self.connect_at,
            self.rekey_at,
            self.departure_at,
            replacement,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Nanos::MAX)
    }
}

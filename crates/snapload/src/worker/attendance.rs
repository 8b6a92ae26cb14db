//! What is to happen to the tunnels of a thread, and when.

use std::collections::VecDeque;

use crate::pacing::Nanos;

/// What will happen to the tunnels of a thread.
#[derive(Default)]
pub(super) struct Attendance {
    /// When all lanes begin to connect.
    pub(super) connect_at: Option<Nanos>,
    /// When all lanes begin another handshake.
    pub(super) rekey_at: Option<Nanos>,
    /// When the next lane leaves, and how many did.
    pub(super) departure_at: Option<Nanos>,
    pub(super) departures: u64,
    /// Lanes that send no more, and when they are replaced.
    pub(super) resting: VecDeque<(Nanos, usize)>,
    /// Tunnels that came in the place of others, in this thread.
    pub(super) newcomers: usize,
    /// Lanes that shall begin a handshake, each with the time since when. Handshakes are measured from
    /// there, so that waiting for the generator counts, as it does for packets.
    pub(super) waiting: VecDeque<(Nanos, usize)>,
}

impl Attendance {
    /// When there is something to do next.
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

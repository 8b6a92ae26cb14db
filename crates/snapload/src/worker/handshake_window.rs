//! Limit on the number of handshakes in progress.
//!
//! A gateway needs some 170 µs per handshake and drops those that overflow its queue; each drop costs a tunnel the
//! retry time. So the limit grows slowly while answers come and is halved when one is missing (additive increase,
//! multiplicative decrease, as in RFC 5681).

use crate::pacing::Nanos;

/// Initial limit: 11 ms of a gateway's work.
const FIRST: f64 = 64.0;

/// Highest limit: 87 ms of a gateway's work, within the size of small socket buffers.
const LARGEST: f64 = 512.0;

const SMALLEST: f64 = 4.0;

/// Limit on handshakes in progress; see the module documentation.
#[derive(Debug)]
pub(super) struct HandshakeWindow {
    size: f64,
    /// Time before which the limit is not halved again: answers missing by then belong to earlier messages.
    settled_ns: Nanos,
}

impl HandshakeWindow {
    pub(super) fn new() -> Self {
        Self {
            size: FIRST,
            settled_ns: 0,
        }
    }

    /// Returns the number of handshakes that may be in progress.
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// Notes a completed handshake.
    pub(super) fn grow(&mut self) {
        self.size = (self.size + 1.0 / self.size).min(LARGEST);
    }

    /// Notes a handshake message repeated after `retry_ns` without an answer.
    pub(super) fn shrink(&mut self, now: Nanos, retry_ns: Nanos) {
        if now >= self.settled_ns {
            self.size = (self.size / 2.0).max(SMALLEST);
            self.settled_ns = now + retry_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_grows_by_one_per_round_up_to_a_maximum() {
        let mut window = HandshakeWindow::new();
        for _ in 0..65 {
            window.grow();
        }
        assert_eq!(window.size(), 65);
        for _ in 0..1_000_000 {
            window.grow();
        }
        assert_eq!(window.size(), LARGEST as usize);
    }

    #[test]
    fn simultaneous_missing_answers_halve_the_window_once() {
        let mut window = HandshakeWindow::new();
        for now in 0..50 {
            window.shrink(now, 100);
        }
        assert_eq!(window.size(), 32);
        window.shrink(100, 100);
        assert_eq!(window.size(), 16);
        for round in 2..20 {
            window.shrink(round * 100, 100);
        }
        assert_eq!(window.size(), SMALLEST as usize);
    }
}

//! How many handshakes may be under way at a time.
//!
//! A gateway needs some 170 µs for one, and drops those that do not fit into its queue; each of them
//! costs a tunnel the retry time. So the number grows slowly while answers come, and is halved when
//! one does not (additive increase, multiplicative decrease, as in RFC 5681).

use crate::pacing::Nanos;

/// Where it begins: 11 ms of a gateway's work.
const FIRST: f64 = 64.0;

/// Where it ends: 87 ms of a gateway's work, and no more than small socket buffers hold.
const LARGEST: f64 = 512.0;

const SMALLEST: f64 = 4.0;

/// See the module.
#[derive(Debug)]
pub(super) struct HandshakeWindow {
    size: f64,
    /// It is not halved again before this time: what is missing by then was sent before.
    settled_ns: Nanos,
}

impl HandshakeWindow {
    pub(super) fn new() -> Self {
        Self {
            size: FIRST,
            settled_ns: 0,
        }
    }

    /// How many handshakes may be under way.
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// A handshake is complete.
    pub(super) fn grow(&mut self) {
        self.size = (self.size + 1.0 / self.size).min(LARGEST);
    }

    /// A handshake message was sent again, since no answer came within `retry_ns`.
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
    fn it_grows_by_one_a_round_and_is_bounded() {
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
    fn many_missing_answers_at_once_halve_it_once() {
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

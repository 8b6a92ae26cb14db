//! Size of a send buffer that follows the rate at which the buffer drains.
//!
//! Datagrams in a send buffer cannot be taken back, so its size limits how old they can become: 4 MiB take 3.4 s on a
//! link of 10 Mbit/s. A full buffer is reported as writable when it is half empty, and the time in between tells the
//! rate.

use std::time::{Duration, Instant};

/// Time to drain half of the buffer below which the buffer is doubled.
const SHORT: Duration = Duration::from_millis(5);

/// Time to drain half of the buffer above which the buffer is halved.
const LONG: Duration = Duration::from_millis(50);

/// Minimum size in bytes.
const BYTES_MIN: usize = 32 << 10;

/// Size of one send buffer, in bytes as SO_SNDBUF counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendBufferSize {
    bytes: usize,
    bytes_max: usize,
    blocked_since: Option<Instant>,
}

impl SendBufferSize {
    /// Starts with `start` bytes, but not with more than `bytes_max`.
    pub(crate) fn new(start: usize, bytes_max: usize) -> Self {
        Self {
            bytes: start.min(bytes_max),
            bytes_max,
            blocked_since: None,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes that the buffer is full.
    pub(crate) fn note_blocked(&mut self, now: Instant) {
        self.blocked_since = Some(now);
    }

    /// Notes that half of the buffer is free again. Returns the new size if it changes.
    pub(crate) fn note_writable(&mut self, now: Instant) -> Option<usize> {
        let half = now.saturating_duration_since(self.blocked_since.take()?);
        let wanted = if half < SHORT {
            (2 * self.bytes).min(self.bytes_max)
        } else if half > LONG {
            // Smaller buffers are not enlarged.
            (self.bytes / 2).max(BYTES_MIN.min(self.bytes))
        } else {
            self.bytes
        };
        let changed = wanted != self.bytes;
        self.bytes = wanted;
        changed.then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    /// Lets a link of `bytes_per_second` drain half of the buffer again and again, and returns the final size.
    fn settled(mut size: SendBufferSize, bytes_per_second: usize) -> usize {
        let mut now = Instant::now();
        for _ in 0..20 {
            size.note_blocked(now);
            // The kernel doubles the configured size.
            now += Duration::from_secs(1) * size.bytes() as u32 / bytes_per_second as u32;
            size.note_writable(now);
        }
        size.bytes()
    }

    #[test]
    fn a_slow_link_gets_a_small_buffer() {
        let size = SendBufferSize::new(256 * KIB, 4096 * KIB);
        // 10 Mbit/s: 52 ms for 64 KiB.
        assert_eq!(settled(size, 1_250_000), 32 * KIB);
        assert_eq!(settled(size, 1_000), 32 * KIB);
    }

    #[test]
    fn a_fast_link_gets_the_configured_buffer() {
        let size = SendBufferSize::new(256 * KIB, 4096 * KIB);
        assert_eq!(settled(size, 1_250_000_000), 4096 * KIB);
    }

    #[test]
    fn a_buffer_that_drains_in_between_keeps_its_size() {
        let size = SendBufferSize::new(256 * KIB, 4096 * KIB);
        assert_eq!(settled(size, 25_000_000), 256 * KIB);
    }

    #[test]
    fn the_configured_size_is_not_exceeded() {
        let size = SendBufferSize::new(256 * KIB, 100 * KIB);
        assert_eq!(size.bytes(), 100 * KIB);
        assert_eq!(settled(size, 1_250_000_000), 100 * KIB);
        let tiny = SendBufferSize::new(256 * KIB, 4 * KIB);
        assert_eq!(settled(tiny, 100), 4 * KIB);
    }

    #[test]
    fn only_a_buffer_that_was_full_changes() {
        let mut size = SendBufferSize::new(256 * KIB, 4096 * KIB);
        let now = Instant::now();
        assert_eq!(size.note_writable(now), None);
        size.note_blocked(now);
        assert_eq!(size.note_writable(now), Some(512 * KIB));
        assert_eq!(size.note_writable(now), None);
    }
}

//! Load at a constant rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Namespace;
use crate::forge::RawSender;

/// Time between bursts.
const INTERVAL: Duration = Duration::from_micros(200);

/// Maximum number of events in a burst. A thread that was suspended skips the rest, because a longer burst would be
/// another load than the one asked for. Below the 256 packets of a veth's ring.
const BURST_MAX: u64 = 32;

/// Clock of a constant rate. It starts at the first call.
#[derive(Debug)]
pub struct Pace {
    per_second: u64,
    start: Option<Instant>,
    /// Number of events that were due so far, including skipped ones.
    due: u64,
}

impl Pace {
    /// Creates a clock that has not started.
    #[must_use]
    pub const fn new(per_second: u64) -> Self {
        Self {
            per_second,
            start: None,
            due: 0,
        }
    }

    /// Waits for the next burst, and returns the number of events that are due, 1 to 32.
    pub fn next_burst(&mut self) -> u64 {
        loop {
            let elapsed = self.elapsed();
            let due = self.due_after(elapsed);
            let burst = due - self.due;
            if burst > 0 {
                self.due = due;
                return burst.min(BURST_MAX);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Returns the number of events that are due now, at most `at_most`; the others stay due. Events that are more
    /// than 10 ms late are skipped.
    pub fn take(&mut self, at_most: u64) -> u64 {
        let elapsed = self.elapsed();
        self.take_at(elapsed, at_most)
    }

    fn take_at(&mut self, elapsed: Duration, at_most: u64) -> u64 {
        let due = self.due_after(elapsed);
        self.due = self.due.max(due.saturating_sub(self.per_second / 100));
        let taken = (due - self.due).min(at_most);
        self.due += taken;
        taken
    }

    fn elapsed(&mut self) -> Duration {
        self.start.get_or_insert_with(Instant::now).elapsed()
    }

    fn due_after(&self, elapsed: Duration) -> u64 {
        let due = elapsed.as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// Thread that sends IP packets at a constant rate until this is stopped or dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts sending `packets` (see [`crate::forge::Datagram::to_ip_packet`]) in rotation from `namespace`.
    #[must_use]
    pub fn start(namespace: &Namespace, per_second: u64, packets: Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = namespace.spawn(move || {
            let sender = RawSender::new();
            let mut pace = Pace::new(per_second);
            let mut packets = packets.iter().cycle();
            while !stopped.load(Ordering::Relaxed) {
                let burst = pace.next_burst();
                for packet in packets.by_ref().take(burst as usize) {
                    sender.send_ip_packet(packet);
                }
                counter.fetch_add(burst, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// Returns the number of packets sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops, and returns the number of packets sent.
    #[must_use]
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a thread");
        assert!(thread.join().is_ok(), "the flood failed");
        self.sent()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test already fails for another reason.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_are_too_late_are_skipped() {
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.take_at(Duration::from_millis(3), 64), 3);
        assert_eq!(pace.take_at(Duration::from_millis(3), 64), 0);
        assert_eq!(pace.take_at(Duration::from_millis(8), 4), 4);
        assert_eq!(pace.take_at(Duration::from_millis(8), 4), 1);
        // After a second without a call: the events of the last 10 ms.
        assert_eq!(pace.take_at(Duration::from_millis(1_008), 64), 10);
    }
}

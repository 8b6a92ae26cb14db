//! Load at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Namespace;
use crate::forge::RawSender;

/// The time between bursts.
const INTERVAL: Duration = Duration::from_micros(200);

/// The most events due at once: a thread that was not run for a while skips the others, since what
/// it would do in one burst is another load than the one asked for. Fewer than the 256 packets of
/// a veth's ring.
const BURST_MAX: u64 = 32;

/// The clock of a steady rate, which starts when it is first asked.
#[derive(Debug)]
pub struct Pace {
    per_second: u64,
    start: Option<Instant>,
    /// Events that were due so far, those skipped among them.
    due: u64,
}

impl Pace {
    /// A clock that has not started.
    #[must_use]
    pub const fn new(per_second: u64) -> Self {
        Self {
            per_second,
            start: None,
            due: 0,
        }
    }

    /// Waits for the next burst, and returns how many events are due, at least 1 and at most 32.
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

    /// How many events are due now, at most `at_most`; the others stay due. A thread that was not run for 10 ms or
    /// more skips what is older.
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

/// IP packets that a thread sends at a steady rate until this is stopped or dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends the packets (see [`crate::forge::Datagram::to_ip_packet`]) over and over from
    /// `namespace`.
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

    /// Packets sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops, and returns how many packets were sent.
    ///
    /// # Panics
    ///
    /// When the thread failed.
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
            // The test fails for another reason already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_what_is_too_late_is_skipped() {
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.take_at(Duration::from_millis(3), 64), 3);
        assert_eq!(pace.take_at(Duration::from_millis(3), 64), 0);
        assert_eq!(pace.take_at(Duration::from_millis(8), 4), 4);
        assert_eq!(pace.take_at(Duration::from_millis(8), 4), 1);
        // A second without a turn: what was due in the last 10 ms.
        assert_eq!(pace.take_at(Duration::from_millis(1_008), 64), 10);
    }
}

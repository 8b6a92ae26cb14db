//! Send schedule of a thread.

use std::collections::VecDeque;
use std::time::Duration;

/// Nanoseconds since the start of the run.
pub(crate) type Nanos = u64;

/// Converts a duration to nanoseconds; saturates.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Time without arrivals after which a closed loop counts the packets in flight as lost.
const WRITE_OFF_NS: Nanos = 200_000_000;

/// Send schedule of a thread.
#[derive(Debug)]
pub(crate) enum Pacing {
    /// Scheduled times.
    Open(OpenLoop),
    /// Arrivals that make room.
    Closed(ClosedLoop),
}

impl Pacing {
    /// Returns a schedule that sends nothing.
    pub(crate) fn idle() -> Self {
        Self::Closed(ClosedLoop::new(0))
    }
}

/// Trains at equal intervals, independent of arrivals, for each of one or more rates. A train that is sent late keeps
/// its scheduled time, so that delays in the generator count as latency.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    /// Delay of all trains, as a fraction of the interval between two.
    phase: f64,
    /// Current rate, followed by those to come.
    rates: VecDeque<RateForATime>,
    /// Start of the current rate.
    start_ns: Nanos,
    /// Index of the next train at the current rate.
    next: u64,
}

#[derive(Debug)]
struct RateForATime {
    train_period_ns: f64,
    time_ns: Nanos,
}

impl OpenLoop {
    /// Schedules packets in trains of `train`, at these rates per second, each for a time; the last rate has no end.
    /// `phase`, from 0 to 1, delays all trains by a fraction of the interval, so that threads take turns.
    pub(crate) fn new(
        rates: impl IntoIterator<Item = (f64, Nanos)>,
        train: u32,
        phase: f64,
    ) -> Self {
        let rates = rates.into_iter().map(|(pps, time_ns)| RateForATime {
            train_period_ns: f64::from(train) * 1e9 / pps,
            time_ns,
        });
        Self {
            phase,
            rates: rates.collect(),
            start_ns: 0,
            next: 0,
        }
    }

    /// Starts the schedule at `time`.
    pub(crate) fn start_at(&mut self, time: Nanos) {
        self.start_ns = time;
    }

    /// Returns the scheduled time of the next train.
    pub(crate) fn next_due(&self) -> Nanos {
        self.rates.front().map_or(Nanos::MAX, |rate| {
            let trains = self.next as f64 + self.phase;
            self.start_ns
                .saturating_add((trains * rate.train_period_ns) as u64)
        })
    }

    /// Moves on to the train after the next.
    pub(crate) fn advance(&mut self) {
        self.next += 1;
        while self.rates.len() > 1
            && let Some(rate) = self.rates.front()
        {
            let end = self.start_ns.saturating_add(rate.time_ns);
            if self.next_due() < end {
                break;
            }
            self.rates.pop_front();
            self.start_ns = end;
            self.next = 0;
        }
    }

    /// Returns how many trains of the current rate can be skipped at once so that the next one is still due before
    /// `time`, whatever the rounding.
    fn far_before(&self, time: Nanos) -> u64 {
        self.rates.front().map_or(0, |rate| {
            let end = match self.rates.len() {
                1 => time,
                _ => time.min(self.start_ns.saturating_add(rate.time_ns)),
            };
            let left = end.saturating_sub(self.next_due()) as f64;
            ((left / rate.train_period_ns) as u64).saturating_sub(1)
        })
    }

    /// Skips the trains that are due before `time` and returns their number.
    pub(crate) fn skip_to(&mut self, time: Nanos) -> u64 {
        let mut skipped = 0;
        while self.next_due() < time {
            let far = self.far_before(time);
            self.next += far;
            self.advance();
            skipped += far + 1;
        }
        skipped
    }
}

/// Limit on the number of packets in flight.
#[derive(Debug)]
pub(crate) struct ClosedLoop {
    window: u64,
    in_flight: u64,
    /// Time of the latest send or arrival.
    last_change_ns: Nanos,
}

impl ClosedLoop {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            window,
            in_flight: 0,
            last_change_ns: 0,
        }
    }

    /// Returns true if a train of this many packets may be sent.
    pub(crate) fn has_room(&self, train: u64) -> bool {
        self.in_flight + train <= self.window
    }

    /// Notes that `count` packets were sent.
    pub(crate) fn sent(&mut self, count: u64, now: Nanos) {
        self.in_flight += count;
        self.last_change_ns = now;
    }

    /// Notes that `count` packets arrived or were overtaken.
    pub(crate) fn returned(&mut self, count: u64, now: Nanos) {
        self.in_flight = self.in_flight.saturating_sub(count);
        self.last_change_ns = now;
    }

    /// Counts all packets in flight as lost.
    pub(crate) fn write_off(&mut self) {
        self.in_flight = 0;
    }

    /// Returns true if packets are in flight and none was sent or arrived for [`WRITE_OFF_NS`].
    pub(crate) fn is_stalled(&self, now: Nanos) -> bool {
        self.in_flight > 0 && now.saturating_sub(self.last_change_ns) >= WRITE_OFF_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(open: &mut OpenLoop, count: usize) -> Vec<Nanos> {
        std::iter::repeat_with(|| {
            let due = open.next_due();
            open.advance();
            due
        })
        .take(count)
        .collect()
    }

    #[test]
    fn packets_are_spaced_evenly() {
        let mut open = OpenLoop::new([(1_000_000.0, Nanos::MAX)], 1, 0.0);
        open.start_at(500);
        assert_eq!(due_times(&mut open, 4), [500, 1500, 2500, 3500]);
    }

    #[test]
    fn longer_trains_have_longer_intervals() {
        let mut open = OpenLoop::new([(1_000_000.0, Nanos::MAX)], 16, 0.0);
        assert_eq!(due_times(&mut open, 3), [0, 16_000, 32_000]);
    }

    #[test]
    fn threads_take_turns() {
        let mut second = OpenLoop::new([(1_000_000.0, Nanos::MAX)], 1, 0.5);
        second.start_at(1000);
        assert_eq!(due_times(&mut second, 2), [1500, 2500]);
    }

    #[test]
    fn rounding_errors_do_not_accumulate() {
        let mut open = OpenLoop::new([(3.0, Nanos::MAX)], 1, 0.0);
        assert_eq!(
            due_times(&mut open, 3_000_001)[3_000_000],
            1_000_000_000_000_000
        );
    }

    #[test]
    fn skipping_stops_before_the_given_time() {
        let mut open = OpenLoop::new([(1000.0, Nanos::MAX)], 1, 0.0);
        assert_eq!(open.skip_to(5_000_000), 5);
        assert_eq!(open.next_due(), 5_000_000);
        assert_eq!(open.skip_to(5_000_000), 0);
    }

    #[test]
    fn rates_follow_each_other() {
        let rates = [(1_000_000.0, 2_000), (2_000_000.0, 1_000), (500_000.0, 0)];
        let mut open = OpenLoop::new(rates, 1, 0.0);
        open.start_at(100);
        let wanted = [100, 1100, 2100, 2600, 3100, 5100, 7100];
        assert_eq!(due_times(&mut open, 7), wanted);
    }

    #[test]
    fn skipping_many_trains_equals_skipping_one_by_one() {
        let schedule = || OpenLoop::new([(7e8, 1_000), (3e6, 50_000), (9e8, 0)], 3, 0.4);
        for time in [0, 1, 999, 1_000, 1_001, 30_000, 51_000, 51_001, 60_000] {
            let (mut at_once, mut one_by_one) = (schedule(), schedule());
            let mut wanted = 0;
            while one_by_one.next_due() < time {
                one_by_one.advance();
                wanted += 1;
            }
            assert_eq!(at_once.skip_to(time), wanted, "{time}");
            assert_eq!(at_once.next_due(), one_by_one.next_due(), "{time}");
        }
    }

    #[test]
    fn closed_loop_keeps_to_its_window() {
        let mut closed = ClosedLoop::new(32);
        closed.sent(16, 0);
        assert!(closed.has_room(16));
        closed.sent(16, 0);
        assert!(!closed.has_room(1));
        closed.returned(1, 5);
        assert!(closed.has_room(1) && !closed.has_room(2));
    }

    #[test]
    fn closed_loop_stalls_only_with_packets_in_flight() {
        let mut closed = ClosedLoop::new(32);
        assert!(!closed.is_stalled(WRITE_OFF_NS));
        closed.sent(1, 100);
        assert!(!closed.is_stalled(WRITE_OFF_NS));
        assert!(closed.is_stalled(WRITE_OFF_NS + 100));
        closed.write_off();
        assert!(closed.has_room(32) && !closed.is_stalled(WRITE_OFF_NS + 100));
    }
}

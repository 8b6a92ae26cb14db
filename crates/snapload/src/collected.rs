//! Results of a trial, collected from the messages of the threads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::latency::Latencies;
use crate::pacing::{Nanos, nanos};
use crate::ramp::StepCounts;
use crate::report::{ConnectReport, Counts, Interval, Report, ThreadReport};
use crate::trial::Trial;
use crate::worker::{IntervalPart, Summary};

/// Share of the due packets that must be sent for the offered rate to count as reached. Below it the generator was too
/// slow.
const REACHED_SHARE: f64 = 0.995;

/// Busy share from which a thread, and not the gateway, counts as the limit of a closed loop.
const SATURATED_SHARE: f64 = 0.95;

/// Results of a trial, collected from the messages of the threads.
pub(crate) struct Collected {
    trial: Trial,
    /// Number of threads that are ready to send.
    pub(crate) ready_threads: usize,
    /// Duration of the measurement on the thread that took longest.
    sending_ns: Nanos,
    /// Intervals that some threads have not finished, each with the number of threads that have.
    intervals: BTreeMap<u64, (usize, IntervalPart)>,
    /// Number of threads that stopped sending, and of their packets that have not arrived.
    pub(crate) draining_threads: usize,
    pub(crate) outstanding: u64,
    used_up: bool,
    counts: Counts,
    latencies: Latencies,
    handshakes: Latencies,
    steps: Vec<StepCounts>,
    /// Threads that have finished.
    pub(crate) done: BTreeMap<usize, ThreadReport>,
}

impl Collected {
    pub(crate) fn new(trial: Trial) -> Self {
        Self {
            trial,
            ready_threads: 0,
            sending_ns: 0,
            intervals: BTreeMap::new(),
            draining_threads: 0,
            outstanding: 0,
            used_up: false,
            counts: Counts::default(),
            latencies: Latencies::new(),
            handshakes: Latencies::new(),
            steps: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    /// Adds a thread's counts of an interval; returns the interval once it is complete.
    pub(crate) fn add_interval(
        &mut self,
        config: &LoadConfig,
        mut part: IntervalPart,
    ) -> Option<Interval> {
        let mut threads = 1;
        if let Some((earlier, sum)) = self.intervals.remove(&part.index) {
            threads += earlier;
            part.end_ns = part.end_ns.max(sum.end_ns);
            part.counts += sum.counts;
            part.latencies.add(*sum.latencies);
        }
        if threads < config.threads {
            self.intervals.insert(part.index, (threads, part));
            return None;
        }
        let start = nanos(config.interval).saturating_mul(part.index);
        let seconds = part.end_ns.saturating_sub(start) as f64 / 1e9;
        let interval = Interval {
            end_seconds: part.end_ns as f64 / 1e9,
            seconds,
            sent_pps: part.counts.sent as f64 / seconds,
            received_pps: part.counts.received as f64 / seconds,
            counts: part.counts,
            latency: part.latencies.histogram().summary(),
        };
        self.add(part);
        (seconds > 0.0).then_some(interval)
    }

    fn add(&mut self, part: IntervalPart) {
        self.counts += part.counts;
        self.latencies.add(*part.latencies);
    }

    /// Adds a thread's counts after its last interval.
    pub(crate) fn finish_thread(&mut self, thread: usize, summary: Summary) {
        self.used_up |= summary.used_up;
        self.sending_ns = self.sending_ns.max(summary.sending_ns);
        self.counts += summary.counts;
        self.latencies.add(summary.latencies);
        self.handshakes.add(summary.handshakes);
        self.steps
            .resize(summary.steps.len(), StepCounts::default());
        for (sum, step) in self.steps.iter_mut().zip(summary.steps) {
            sum.sent += step.sent;
            sum.received += step.received;
        }
        self.done.insert(thread, summary.thread);
    }

    /// Returns the report, or an error if nothing was measured.
    pub(crate) fn into_report(
        mut self,
        config: &LoadConfig,
        connect: ConnectReport,
    ) -> Result<Report, LoadError> {
        if self.sending_ns == 0 {
            return Err(match self.used_up && !config.stop.is_set() {
                true => LoadError::UsedUpInWarmUp,
                false => LoadError::Interrupted,
            });
        }
        // Threads that were stopped early may have stopped in different intervals.
        for (_, part) in std::mem::take(&mut self.intervals).into_values() {
            self.add(part);
        }
        let counts = self.counts;
        let threads: Vec<_> = self.done.into_values().collect();
        let seconds = Duration::from_nanos(self.sending_ns).as_secs_f64();
        let lost = counts.sent.saturating_sub(counts.received);
        let offered_pps = self.trial.offered_pps();
        let offered_rate_reached =
            offered_pps.is_none() || counts.sent as f64 >= REACHED_SHARE * counts.due as f64;
        let is_saturated = threads
            .iter()
            .any(|thread| thread.busy_share >= SATURATED_SHARE);
        let latency_histogram = self.latencies.histogram();
        Ok(Report {
            gateway: config.gateway,
            direction: config.direction.kind(),
            size_bytes: config.mean_size(),
            train: config.effective_train(),
            connect,
            seconds,
            interrupted: config.stop.is_set(),
            used_up: self.used_up,
            offered_pps,
            offered_rate_reached,
            limited_by_generator: !offered_rate_reached
                || (lost > 0 && counts.receive_drops > 0)
                || (offered_pps.is_none() && is_saturated),
            counts,
            lost,
            loss_share: lost as f64 / counts.sent.max(1) as f64,
            sent_pps: counts.sent as f64 / seconds,
            received_pps: counts.received as f64 / seconds,
            received_bits_per_second: counts.received_bytes as f64 * 8.0 / seconds,
            latency: latency_histogram.summary(),
            latency_histogram,
            handshake: self.handshakes.histogram().summary(),
            steps: self.trial.steps(&self.steps),
            generator_cpu_seconds: threads.iter().map(|thread| thread.cpu_seconds).sum(),
            threads,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;
    use crate::identity::Identities;
    use crate::report::Checks;
    use crate::values::share_of_percent;

    /// Returns the report of a trial of 2 s on one thread.
    fn measured(counts: Counts, offered_pps: Option<f64>, busy_share: f64) -> Report {
        let gateway = "127.0.0.1:1".parse().unwrap();
        let config = LoadConfig::new(gateway, [1; 32], Identities::from_seed(1, 1));
        let mut collected = Collected::new(Trial {
            rate: offered_pps.map_or(Rate::Max { window: 1 }, Rate::PerSecond),
            ..config.trial()
        });
        collected.sending_ns = 2_000_000_000;
        collected.counts = counts;
        (0..counts.received).for_each(|_| collected.latencies.record(2_000));
        let thread = ThreadReport {
            cpu: None,
            tunnels: 1,
            connected: 1,
            sent: counts.sent,
            received: counts.received,
            cpu_seconds: 0.5,
            busy_share,
        };
        collected.done.insert(0, thread);
        collected
            .into_report(&config, ConnectReport::default())
            .unwrap()
    }

    fn counts(due: u64, sent: u64, received: u64) -> Counts {
        Counts {
            due,
            sent,
            received,
            received_bytes: 1000 * received,
            ..Counts::default()
        }
    }

    #[test]
    fn loss_and_rates_are_derived_from_the_counts() {
        let report = measured(counts(1000, 1000, 900), Some(500.0), 0.1);
        assert_eq!((report.lost, report.loss_share), (100, 0.1));
        assert_eq!((report.sent_pps, report.received_pps), (500.0, 450.0));
        assert_eq!(report.received_bits_per_second, 450.0 * 8000.0);
        assert!(report.offered_rate_reached && !report.limited_by_generator);
    }

    #[test]
    fn missed_rate_is_limited_by_the_generator() {
        let report = measured(counts(1000, 990, 990), Some(500.0), 0.2);
        assert!(!report.offered_rate_reached && report.limited_by_generator);
    }

    #[test]
    fn closed_loop_is_limited_by_the_generator_only_if_a_thread_is_saturated() {
        assert!(measured(counts(9, 9, 9), None, 0.99).limited_by_generator);
        let idle = measured(counts(9, 9, 9), None, 0.5);
        assert!(idle.offered_rate_reached && !idle.limited_by_generator);
    }

    #[test]
    fn drops_at_the_generators_sockets_are_its_limit() {
        let counts = Counts {
            receive_drops: 1,
            ..counts(10, 10, 9)
        };
        assert!(measured(counts, Some(5.0), 0.1).limited_by_generator);
    }

    #[test]
    fn run_without_packets_has_no_loss() {
        assert_eq!(measured(counts(0, 0, 0), None, 0.0).loss_share, 0.0);
    }

    #[test]
    fn checks_fail_only_beyond_their_limit() {
        let report = measured(counts(1000, 1000, 990), Some(500.0), 0.1);
        let at = Checks {
            max_loss_share: Some(0.01),
            max_p99: Some(Duration::from_nanos(2000)),
        };
        assert_eq!(report.failed_checks(&at), Vec::<String>::new());
        let below = Checks {
            max_loss_share: Some(0.009),
            max_p99: Some(Duration::from_nanos(1999)),
        };
        assert_eq!(report.failed_checks(&below).len(), 2);
    }

    #[test]
    fn loss_at_the_limit_is_allowed() {
        for lost in 0..=1000 {
            let report = measured(counts(10_000, 10_000, 10_000 - lost), None, 0.1);
            let limit = f64::from(lost as u32) / 100.0;
            let checks = Checks {
                max_loss_share: Some(share_of_percent(limit)),
                max_p99: None,
            };
            assert_eq!(report.failed_checks(&checks), Vec::<String>::new());
        }
    }

    #[test]
    fn loss_check_fails_if_nothing_was_sent() {
        let checks = Checks {
            max_loss_share: Some(1.0),
            max_p99: None,
        };
        let failed = measured(counts(0, 0, 0), Some(1.0), 0.0).failed_checks(&checks);
        assert_eq!(failed.len(), 1);
        assert!(failed[0].starts_with("no packet was sent"), "{failed:?}");
    }

    #[test]
    fn latency_check_fails_without_replies() {
        let report = measured(counts(10, 10, 0), Some(500.0), 0.1);
        let checks = Checks {
            max_loss_share: None,
            max_p99: Some(Duration::from_secs(1)),
        };
        assert_eq!(report.failed_checks(&checks).len(), 1);
    }
}

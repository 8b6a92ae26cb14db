//! Results of a run.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::DirectionKind;
use crate::latency::{LatencyHistogram, LatencySummary};
use crate::ramp::Step;
use crate::values::percent_of_share;

/// Share of the due packets that must be sent for the offered rate to count as reached. Below it the generator was too
/// slow.
const REACHED_SHARE: f64 = 0.995;

/// Busy share from which a thread, and not the gateway, counts as the limit of a closed loop.
const SATURATED_SHARE: f64 = 0.95;

/// Counts of a period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Counts {
    /// Packets that were due; in a closed loop, packets that had room in the window.
    pub due: u64,
    /// Packets handed to the kernel.
    pub sent: u64,
    /// Packets that arrived intact, each counted once.
    pub received: u64,
    /// Bytes of the packets in `received`.
    pub received_bytes: u64,
    /// Further arrivals of packets that had arrived.
    pub duplicated: u64,
    /// Packets that arrived after one that was sent later (RFC 4737). Included in `received`.
    pub reordered: u64,
    /// Packets that arrived more than 65,536 packets behind the newest of their tunnel. Counted as lost.
    pub late: u64,
    /// Packets that arrived changed. Counted as lost.
    pub corrupted: u64,
    /// Packets that arrived in another tunnel or at another router than intended.
    pub misdelivered: u64,
    /// SCMP messages received. A gateway sends them for packets that it refuses.
    pub scmp: u64,
    /// Datagrams that a tunnel refused: replayed, not authentic, or of an unknown session.
    pub refused: u64,
    /// Tunnels that connected, not including those that connected before sending started ([`Report::connect`]).
    pub connected: u64,
    /// Tunnels that were replaced, see [`Presence::Turnover`](crate::Presence::Turnover).
    pub departed: u64,
    /// Tunnels that completed a handshake started by [`LoadConfig::rekey_at`](crate::LoadConfig::rekey_at).
    pub rekeyed: u64,
    /// Packets that the kernel refused to send.
    pub send_errors: u64,
    /// Datagrams (a train counts once) that the kernel dropped at full sockets of the generator since they were bound.
    /// Packets lost this way are not lost by the gateway. Known at the end of the run.
    pub receive_drops: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.due += other.due;
        self.sent += other.sent;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.late += other.late;
        self.corrupted += other.corrupted;
        self.misdelivered += other.misdelivered;
        self.scmp += other.scmp;
        self.refused += other.refused;
        self.connected += other.connected;
        self.departed += other.departed;
        self.rekeyed += other.rekeyed;
        self.send_errors += other.send_errors;
        self.receive_drops += other.receive_drops;
    }
}

/// Progress of a run.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Tunnels are being connected.
    Connecting {
        /// Number of connected tunnels.
        connected: usize,
        /// Number of tunnels to connect.
        tunnels: usize,
    },
    /// All tunnels are connected.
    Connected(ConnectReport),
    /// Packets are being encrypted before sending starts.
    Encrypting,
    /// Packets are being sent, but not counted yet.
    WarmUp,
    /// An interval of the measurement has ended.
    Interval(Interval),
    /// Sending has ended, and outstanding packets are awaited.
    Draining {
        /// Number of packets that have not arrived.
        outstanding: u64,
    },
}

/// An interval of the measurement. Packets count as received in the interval in which they arrive.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, Serialize)]
pub struct Interval {
    /// End of the interval, in seconds since the start of the measurement.
    pub end_seconds: f64,
    /// Length in seconds.
    pub seconds: f64,
    /// Packets sent per second.
    pub sent_pps: f64,
    /// Packets received per second.
    pub received_pps: f64,
    /// Counts of packets and tunnels.
    #[serde(flatten)]
    pub counts: Counts,
    /// Latencies, from scheduled time to arrival.
    pub latency: LatencySummary,
}

/// How the tunnels were connected.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct ConnectReport {
    /// Number of connected tunnels.
    pub tunnels: usize,
    /// Time from the first handshake message to the last session, in seconds.
    pub seconds: f64,
    /// Handshake messages repeated because no answer came.
    pub retries: u64,
    /// Cookie replies received, which a gateway under load sends.
    pub cookies: u64,
}

/// Share of one thread in a run.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
pub struct ThreadReport {
    /// CPU it was pinned to.
    pub cpu: Option<usize>,
    /// Number of its tunnels.
    pub tunnels: usize,
    /// Number of its tunnels that were connected at the end.
    pub connected: usize,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// CPU time during the measurement, in seconds. Includes busy waiting for packets that are due within microseconds.
    pub cpu_seconds: f64,
    /// Share of the measurement in which it was busy, 0 to 1.
    pub busy_share: f64,
}

/// Result of a run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Address of the gateway.
    pub gateway: SocketAddr,
    /// Direction of the packets.
    pub direction: DirectionKind,
    /// Size of the SCION packets in bytes; the mean for a mix.
    pub size_bytes: usize,
    /// Number of packets sent back to back on one tunnel.
    pub train: u32,
    /// How the tunnels were connected.
    pub connect: ConnectReport,
    /// Duration of the measurement, in seconds.
    pub seconds: f64,
    /// True if the run was stopped early.
    pub interrupted: bool,
    /// True if the run ended early because its pre-encrypted packets were used up.
    pub used_up: bool,
    /// Offered rate in packets per second; `None` in a closed loop.
    pub offered_pps: Option<f64>,
    /// True if (nearly) all packets that were due were sent. Always true in a closed loop, which offers no rate.
    pub offered_rate_reached: bool,
    /// True if the generator was the limit, so that the gateway's limit is higher.
    pub limited_by_generator: bool,
    /// Counts of packets and tunnels.
    #[serde(flatten)]
    pub counts: Counts,
    /// Number of sent packets that did not arrive (`sent` - `received`).
    pub lost: u64,
    /// `lost` as a share of `sent`, 0 to 1.
    pub loss_share: f64,
    /// Packets sent per second.
    pub sent_pps: f64,
    /// Packets received per second of the measurement.
    pub received_pps: f64,
    /// Bits of SCION packets received per second.
    pub received_bits_per_second: f64,
    /// Latencies, from scheduled time to arrival.
    pub latency: LatencySummary,
    /// All latencies.
    pub latency_histogram: LatencyHistogram,
    /// Time from the scheduled start of a handshake to its session, for all first and commanded handshakes since the
    /// previous trial.
    pub handshake: LatencySummary,
    /// Loss in each step of a ramp.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// CPU time of all threads during the measurement, in seconds.
    pub generator_cpu_seconds: f64,
    /// The generator's threads.
    pub threads: Vec<ThreadReport>,
}

/// What [`Report::new`] is made from.
pub(crate) struct Measured {
    pub(crate) gateway: SocketAddr,
    pub(crate) direction: DirectionKind,
    pub(crate) size_bytes: usize,
    pub(crate) train: u32,
    pub(crate) connect: ConnectReport,
    pub(crate) sending: Duration,
    pub(crate) interrupted: bool,
    pub(crate) used_up: bool,
    pub(crate) offered_pps: Option<f64>,
    pub(crate) counts: Counts,
    pub(crate) latency: LatencyHistogram,
    pub(crate) handshake: LatencySummary,
    pub(crate) steps: Vec<Step>,
    pub(crate) threads: Vec<ThreadReport>,
}

impl Report {
    pub(crate) fn new(measured: Measured) -> Self {
        let Measured {
            counts, threads, ..
        } = measured;
        let seconds = measured.sending.as_secs_f64();
        let lost = counts.sent.saturating_sub(counts.received);
        let offered_rate_reached = measured.offered_pps.is_none()
            || counts.sent as f64 >= REACHED_SHARE * counts.due as f64;
        let saturated = threads
            .iter()
            .any(|thread| thread.busy_share >= SATURATED_SHARE);
        Self {
            gateway: measured.gateway,
            direction: measured.direction,
            size_bytes: measured.size_bytes,
            train: measured.train,
            connect: measured.connect,
            seconds,
            interrupted: measured.interrupted,
            used_up: measured.used_up,
            offered_pps: measured.offered_pps,
            offered_rate_reached,
            limited_by_generator: !offered_rate_reached
                || (lost > 0 && counts.receive_drops > 0)
                || (measured.offered_pps.is_none() && saturated),
            counts,
            lost,
            loss_share: if counts.sent == 0 {
                0.0
            } else {
                lost as f64 / counts.sent as f64
            },
            sent_pps: counts.sent as f64 / seconds,
            received_pps: counts.received as f64 / seconds,
            received_bits_per_second: counts.received_bytes as f64 * 8.0 / seconds,
            latency: measured.latency.summary(),
            latency_histogram: measured.latency,
            handshake: measured.handshake,
            steps: measured.steps,
            generator_cpu_seconds: threads.iter().map(|thread| thread.cpu_seconds).sum(),
            threads,
        }
    }

    /// Returns the number of tunnels without a session at the end.
    #[must_use]
    pub fn unconnected(&self) -> usize {
        let missing = |thread: &ThreadReport| thread.tunnels.saturating_sub(thread.connected);
        self.threads.iter().map(missing).sum()
    }

    /// Returns the failed checks, each as a sentence.
    #[must_use]
    pub fn failed_checks(&self, checks: &Checks) -> Vec<String> {
        let mut failed = Vec::new();
        if let Some(limit) = checks.max_loss_share {
            if self.counts.sent == 0 {
                failed.push("no packet was sent, so there is no loss to check".to_owned());
            } else if self.loss_share > limit {
                failed.push(format!(
                    "{} of {} packets were lost ({:.4} %), more than the {} % allowed",
                    self.lost,
                    self.counts.sent,
                    self.loss_share * 100.0,
                    percent_of_share(limit),
                ));
            }
        }
        if let Some(limit) = checks.max_p99 {
            if self.latency.count == 0 {
                failed
                    .push("no packet arrived, so there is no 99th percentile to check".to_owned());
            } else if u128::from(self.latency.p99_ns) > limit.as_nanos() {
                failed.push(format!(
                    "the 99th percentile of the latencies is {:?}, more than the {limit:?} allowed",
                    Duration::from_nanos(self.latency.p99_ns),
                ));
            }
        }
        failed
    }
}

/// Limits that a result must keep.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Checks {
    /// Largest share of packets that may be lost, 0 to 1.
    pub max_loss_share: Option<f64>,
    /// Longest 99th percentile of the latencies.
    pub max_p99: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latencies;
    use crate::values::share_of_percent;

    fn measured(counts: Counts, offered_pps: Option<f64>, busy_share: f64) -> Report {
        Report::new(Measured {
            gateway: "127.0.0.1:1".parse().unwrap(),
            direction: DirectionKind::Echo,
            size_bytes: 1000,
            train: 1,
            connect: ConnectReport::default(),
            sending: Duration::from_secs(2),
            interrupted: false,
            used_up: false,
            offered_pps,
            counts,
            latency: {
                let mut latencies = Latencies::new();
                (0..counts.received).for_each(|_| latencies.record(2_000));
                latencies.histogram()
            },
            handshake: LatencySummary::default(),
            steps: Vec::new(),
            threads: vec![ThreadReport {
                cpu: None,
                tunnels: 1,
                connected: 1,
                sent: counts.sent,
                received: counts.received,
                cpu_seconds: 0.5,
                busy_share,
            }],
        })
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

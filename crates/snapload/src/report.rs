//! Results of a run.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::DirectionKind;
use crate::latency::{LatencyHistogram, LatencySummary};
use crate::ramp::Step;
use crate::values::percent_of_share;

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

impl Report {
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
                failed.push("no packet was sent, so the loss cannot be checked".to_owned());
            } else if self.loss_share > limit {
                failed.push(format!(
                    "{} of {} packets were lost ({:.4} %); the limit is {} %",
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
                    .push("no packet arrived, so the 99th percentile cannot be checked".to_owned());
            } else if u128::from(self.latency.p99_ns) > limit.as_nanos() {
                failed.push(format!(
                    "the 99th percentile of the latencies is {:?}; the limit is {limit:?}",
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

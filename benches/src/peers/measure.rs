//! Load on a server, and the CPU time of the server.

use std::time::Duration;

use snapload::{LoadConfig, Progress, Report};

use super::case::Case;
use crate::cpu::ProcessClock;
use crate::harness::error::BenchError;
use crate::harness::run::Run;
use crate::harness::server::{Kind, Server};

/// Number of parts of a measurement. The first is for warming up; each of the others begins and ends with a reading of
/// the server's CPU clock.
const PARTS: u32 = 4;

/// Duration of a part in milliseconds.
const PART_MS: u64 = 400;

/// Number of packets that the load generator encrypts in advance, per second, so that its cryptography is not the
/// limit. A faster server is measured for a shorter time.
const READY_PPS: u64 = 1_000_000;

/// The same for the peer, which is slower.
const READY_PPS_FOR_PEER: u64 = 600_000;

/// Memory of a prepared packet in addition to its length, as counted by `snapload`.
const READY_OVERHEAD_BYTES: usize = 144;

/// Maximum memory of prepared packets.
pub(crate) const READY_BYTES_MAX: u64 = 3 << 30;

/// Results of a server under load.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// CPU time of the server per delivered packet, in nanoseconds.
    pub(crate) ns_per_packet: f64,
    /// Packets delivered per second.
    pub(crate) delivered_pps: f64,
    /// Packets lost, as a share of packets sent.
    pub(crate) loss_share: f64,
    /// The load generator could not send more.
    pub(crate) limited_by_generator: bool,
}

/// Starts a server, runs the closed loop of `case` on it, and stops it.
pub(crate) fn measure_load(run: &Run, case: &Case, kind: Kind) -> Result<Loaded, BenchError> {
    let mut server = Server::start(run, kind, case.way)?;
    measure_load_on(run, case, kind, &mut server)
}

/// Runs the closed loop of `case` on a server.
pub(crate) fn measure_load_on(
    run: &Run,
    case: &Case,
    kind: Kind,
    server: &mut Server,
) -> Result<Loaded, BenchError> {
    let mut load = case.load(run, kind, server)?;
    load.interval = run.time(PART_MS);
    load.warm_up = Duration::ZERO;
    load.duration = load.interval * PARTS;
    let ready_pps = match kind {
        Kind::Peer => READY_PPS_FOR_PEER,
        Kind::Snapgate(_) | Kind::SnapgateWith { .. } => READY_PPS,
    };
    let ready_packets = load.duration.as_millis() as u64 * ready_pps / 1000;
    let packet_bytes = (case.mean_size() + READY_OVERHEAD_BYTES) as u64;
    load.pre_encrypt_bytes = Some(READY_BYTES_MAX.min(ready_packets * packet_bytes));
    let mut meter = Meter::new(server.clock);
    let report = drive(server, &load, &mut |progress| {
        meter.note(&progress);
    })?;
    let cost = meter.cost()?;
    if cost.packets == 0 {
        return Err(BenchError::NothingDelivered {
            server: kind.name(),
        });
    }
    Ok(Loaded {
        ns_per_packet: cost.cpu_ns as f64 / cost.packets as f64,
        delivered_pps: cost.packets as f64 / cost.seconds,
        loss_share: report.loss_share,
        limited_by_generator: report.limited_by_generator,
    })
}

/// Runs a load. The error includes the state of the server.
pub(crate) fn drive(
    server: &mut Server,
    load: &LoadConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, BenchError> {
    snapload::run(load, progress).map_err(|error| server.load_failed(error))
}

/// Reads a server's CPU clock whenever an interval of a load ends.
pub(crate) struct Meter {
    clock: ProcessClock,
    /// CPU time at the end of the first interval, which is not counted.
    first: Option<Result<u64, BenchError>>,
    last: Option<Result<u64, BenchError>>,
    packets: u64,
    seconds: f64,
}

/// CPU time and packets between the ends of the first and the last interval.
pub(crate) struct Cost {
    pub(crate) cpu_ns: u64,
    pub(crate) packets: u64,
    pub(crate) seconds: f64,
}

impl Meter {
    pub(crate) fn new(clock: ProcessClock) -> Self {
        Self {
            clock,
            first: None,
            last: None,
            packets: 0,
            seconds: 0.0,
        }
    }

    pub(crate) fn note(&mut self, progress: &Progress) {
        let Progress::Interval(interval) = progress else {
            return;
        };
        let now = self.clock.ns().map_err(BenchError::from);
        if self.first.is_none() {
            self.first = Some(now);
        } else {
            self.last = Some(now);
            self.packets += interval.counts.received;
            self.seconds += interval.seconds;
        }
    }

    pub(crate) fn cost(self) -> Result<Cost, BenchError> {
        let first = self.first.transpose()?.unwrap_or_default();
        let last = self.last.transpose()?.unwrap_or(first);
        Ok(Cost {
            cpu_ns: last - first,
            packets: self.packets,
            seconds: self.seconds,
        })
    }
}

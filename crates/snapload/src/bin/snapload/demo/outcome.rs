//! Results of a demo, for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use snapgate::counters::Counters;
use snapgate::summary::{DropCount, Summary};
use snapload::Report;

/// Duration of the warm-up, in which packets are sent but not counted.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

/// Results of a demo, from the load generator and the gateway.
pub(super) struct Outcome {
    pub(super) report: Report,
    pub(super) summary: Summary,
}

#[derive(Serialize)]
struct JsonOutcome<'a> {
    load: &'a Report,
    workers: Vec<JsonWorker>,
    dropped: Vec<DropCount>,
}

#[derive(Serialize)]
struct JsonWorker {
    received: u64,
    share: f64,
    taken: u64,
    delivered: u64,
    sent: u64,
    dropped: u64,
    given: u64,
    handovers: u64,
    tunnels: u64,
}

impl Outcome {
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let total = self.summary.total();
        let workers = self.summary.workers.iter();
        serde_json::to_string(&JsonOutcome {
            load: &self.report,
            workers: workers.map(|one| JsonWorker::new(one, &total)).collect(),
            dropped: self.summary.drops().collect(),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, summary } = self;
        let latency = &report.latency;
        writeln!(
            out,
            "Sent        {} packets, {:.0}/s",
            report.counts.sent, report.sent_pps
        )?;
        writeln!(
            out,
            "Back        {} packets, {:.0}/s, {:.3} Gbit/s",
            report.counts.received,
            report.received_pps,
            report.received_bits_per_second / 1e9
        )?;
        writeln!(
            out,
            "Lost        {} ({:.4} %)",
            report.lost,
            100.0 * report.loss_share
        )?;
        writeln!(
            out,
            "Round trip  p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            micros(latency.p50_ns),
            micros(latency.p90_ns),
            micros(latency.p99_ns),
            micros(latency.p99_9_ns),
            micros(latency.max_ns),
        )?;
        if report.limited_by_generator {
            writeln!(
                out,
                "            the generator was the limit: the gateway can do more"
            )?;
        }
        writeln!(out)?;
        writeln!(out, "The workers also counted {WARM_UP:?} of warm-up.")?;
        writeln!(out, "{}", summary.tables())?;
        out.write_str(NEXT_COMMANDS)
    }
}

const NEXT_COMMANDS: &str = "\
Try next:
  snapload demo --rate max --tunnels 500        how much this machine can do
  snapload demo --workers 1                     one worker alone
  snapload demo --dispatch user                 the same without the kernel's help: see handovers
  snapgate genkey --output private.key          the key of a gateway of your own
  snapgate run --help                           everything that it takes
";

impl JsonWorker {
    fn new(worker: &Counters, total: &Counters) -> Self {
        Self {
            received: worker.received(),
            share: worker.received() as f64 / total.received().max(1) as f64,
            taken: worker.taken_packets,
            delivered: worker.delivered(),
            sent: worker.sent(),
            dropped: worker.total_dropped(),
            given: worker.given_packets,
            handovers: worker.handovers,
            tunnels: worker.tunnels,
        }
    }
}

fn micros(nanoseconds: u64) -> String {
    format!("{:.0} µs", nanoseconds as f64 / 1e3)
}

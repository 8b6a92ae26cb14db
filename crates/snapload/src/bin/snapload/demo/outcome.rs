//! Results of a demo, for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use snapgate::counters::Counters;
use snapgate::summary::{DropCount, Summary};
use snapload::Report;

use crate::human::summary;

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
        writeln!(out, "{}", summary(&self.report))?;
        writeln!(out, "Workers, {WARM_UP:?} of warm-up included:")?;
        writeln!(out, "{}", self.summary.tables())?;
        out.write_str(NEXT_COMMANDS)
    }
}

const NEXT_COMMANDS: &str = "\
Try next, in the repository after `cargo build --release`:
  target/release/snapload demo --rate max --tunnels 500   the limit of this machine
  target/release/snapload demo --workers 1                a single worker
  target/release/snapload demo --dispatch user            without dispatch in the kernel
  target/release/snapgate genkey --output private.key     a key for your own gateway
  target/release/snapgate run --help                      its options
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

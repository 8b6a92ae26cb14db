//! The metrics of the process, which an embedding program has itself.

use std::fmt;
use std::fs;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::status::Status;
use crate::{logging, standard_streams};

/// Encodes the metrics of the process for a scrape.
pub(super) struct Process(pub(super) Arc<Status>);

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut build_info = encoder.encode_descriptor(
            "snapgate_build_info",
            "Always 1; the label is the version.",
            None,
            MetricType::Gauge,
        )?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1_i64).encode(build_info.encode_family(&version)?)?;

        let dropped = encoder.encode_descriptor(
            "snapgate_log_lines_dropped",
            "Log lines that were not written, because standard error was not read or failed.",
            None,
            MetricType::Counter,
        )?;
        let lines = logging::dropped_lines() + standard_streams::lost_lines();
        ConstCounter::new(lines).encode(dropped)?;

        let metric = encoder.encode_descriptor(
            "process_start_time_seconds",
            "Start time of the process, in seconds since the epoch.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.0.started().as_second()).encode(metric)?;
        let Some(descriptors) = open_descriptors() else {
            return Ok(());
        };
        let metric = encoder.encode_descriptor(
            "process_open_fds",
            "Open file descriptors.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(descriptors).encode(metric)
    }
}

/// Returns the number of descriptors of this process, without the one that reads them. `None` without /proc.
fn open_descriptors() -> Option<i64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(entries.saturating_sub(1)).ok()
}

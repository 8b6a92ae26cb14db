//! The metrics of the gateway and of the process, which have no label `worker`.

use std::fmt;
use std::fs;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::logging;
use crate::status::Status;

/// Reads the gateway's status for a scrape.
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
        ConstCounter::new(logging::dropped_lines()).encode(dropped)?;

        let mut gauge = |name, help, value: i64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since the epoch.",
            self.0.started().as_second(),
        )?;
        if let Some(descriptors) = open_descriptors() {
            gauge("process_open_fds", "Open file descriptors.", descriptors)?;
        }
        gauge(
            "snapgate_draining",
            "1 while the gateway drains after SIGTERM, serving existing tunnels only.",
            self.0.is_draining().into(),
        )?;
        gauge(
            "snapgate_system_clock_trusted",
            "1 if the system clock is later than the build and not reported as unsynchronized; if 0, handshakes with \
             future timestamps are accepted.",
            self.0.is_clock_trusted().into(),
        )?;
        let Some(list) = self.0.authorization().list() else {
            return Ok(());
        };
        let identities = list.status();
        gauge(
            "snapgate_identities",
            "Identities in the list, including expired ones.",
            i64::try_from(identities.listed).unwrap_or(i64::MAX),
        )?;
        gauge(
            "snapgate_identities_last_reload_successful",
            "1 if the last read of the identities file succeeded; otherwise the previous identities stay in force.",
            identities.last_reload_successful.into(),
        )?;
        gauge(
            "snapgate_identities_last_reload_success_timestamp_seconds",
            "When the identities in force were read, in seconds since the epoch.",
            identities.last_reload_success,
        )?;
        gauge(
            "snapgate_identities_last_check_timestamp_seconds",
            "When the identities file was last checked for changes, in seconds since the epoch.",
            identities.last_check,
        )
    }
}

/// Returns the number of descriptors of this process, without the one that reads them. `None` without /proc.
fn open_descriptors() -> Option<i64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(entries.saturating_sub(1)).ok()
}

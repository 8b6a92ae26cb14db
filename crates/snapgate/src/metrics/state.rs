//! The metrics of the state directory, present only if there is one.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::state::StateStatus;

/// Reads the counts of the state file for a scrape.
#[derive(Debug)]
pub(super) struct State(pub(super) Arc<StateStatus>);

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = [
            (
                "snapgate_state_writes",
                "Successful writes of the state file.",
                self.0.writes(),
            ),
            (
                "snapgate_state_write_failures",
                "Failed writes of the state file.",
                self.0.failures(),
            ),
        ];
        for (name, help, value) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        let metric = encoder.encode_descriptor(
            "snapgate_state_records",
            "Tunnels in the state file.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.0.records().cast_signed()).encode(metric)?;
        let metric = encoder.encode_descriptor(
            "snapgate_state_last_write_age_seconds",
            "Seconds since the last successful write of the state file; normally less than 60.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.0.last_write_age().as_secs_f64()).encode(metric)
    }
}

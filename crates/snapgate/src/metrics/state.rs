//! The metrics of the state directory, present only if there is one.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::state::StateStatus;

/// Encodes the counts of the state file.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    state: &StateStatus,
) -> Result<(), fmt::Error> {
    let counters = [
        (
            "snapgate_state_writes",
            "Successful writes of the state file.",
            state.writes(),
        ),
        (
            "snapgate_state_write_failures",
            "Failed writes of the state file.",
            state.failures(),
        ),
        (
            "snapgate_state_file_losses",
            "Times that another process removed or replaced the state file, its lock or the state directory.",
            state.losses(),
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
    ConstGauge::new(state.records().cast_signed()).encode(metric)?;
    let metric = encoder.encode_descriptor(
        "snapgate_state_last_write_age_seconds",
        "Seconds since the last successful write of the state file; normally less than 60.",
        None,
        MetricType::Gauge,
    )?;
    ConstGauge::new(state.last_write_age().as_secs_f64()).encode(metric)
}

//! The metrics of the accounting log, present only if there is one.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::accounting::LogStatus;

/// Encodes the counts of the accounting log.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    log: &LogStatus,
) -> Result<(), fmt::Error> {
    let counters = [
        (
            "snapgate_accounting_log_lines",
            "Lines written to the accounting log.",
            log.lines(),
        ),
        (
            "snapgate_accounting_log_write_failures",
            "Failed writes of the accounting log; they are tried again.",
            log.failures(),
        ),
    ];
    for (name, help, value) in counters {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    Ok(())
}

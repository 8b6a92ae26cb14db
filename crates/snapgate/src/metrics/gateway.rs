//! The metrics of the gateway as a whole, and of the workers as threads.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::status::Status;

/// Encodes the gateway's status.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
) -> Result<(), fmt::Error> {
    encode_pinned_cpus(encoder, status)?;
    let mut gauge = |name, help, value: i64| {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    };
    gauge(
        "snapgate_draining",
        "1 while the gateway drains, serving existing tunnels only.",
        status.is_draining().into(),
    )?;
    gauge(
        "snapgate_system_clock_trusted",
        "1 if the system clock is later than 2026-11-01 and not reported as unsynchronized; if 0, handshakes with \
         future timestamps are accepted.",
        status.is_clock_trusted().into(),
    )?;
    let Some(registry) = status.authorization().registry() else {
        return Ok(());
    };
    let identities = registry.status();
    gauge(
        "snapgate_identities",
        "Identities in the list, including expired ones.",
        i64::try_from(identities.listed).unwrap_or(i64::MAX),
    )?;
    gauge(
        "snapgate_registrations",
        "Registered identities that the workers know, including expired ones that were not removed yet; \
         snapgate_control_registrations counts against the limit.",
        i64::try_from(identities.registered).unwrap_or(i64::MAX),
    )?;
    if !identities.has_file {
        return Ok(());
    }
    gauge(
        "snapgate_identities_last_reload_successful",
        "1 if the last read of the identities file succeeded; otherwise the previous identities stay in force.",
        identities.last_reload_successful.into(),
    )?;
    gauge(
        "snapgate_identities_last_reload_success_timestamp_seconds",
        "Time at which the identities in force were read, in seconds since the epoch.",
        identities.last_reload_success,
    )?;
    gauge(
        "snapgate_identities_last_check_timestamp_seconds",
        "Time at which the identities file was last checked for changes, in seconds since the epoch.",
        identities.last_check,
    )
}

fn encode_pinned_cpus(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(
        "snapgate_pinned_cpu",
        "CPU that the worker is pinned to; -1 if it is not pinned.",
        None,
        MetricType::Gauge,
    )?;
    for (worker, cpu) in status.pinned_cpus().all().enumerate() {
        let worker = [("worker", worker.to_string())];
        ConstGauge::new(cpu).encode(metric.encode_family(&worker)?)?;
    }
    Ok(())
}

//! Metrics of the keys of tokens.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::key_set::{KeySet, KeySetStatus};

/// Collector of the metrics of a key set.
#[derive(Clone)]
pub struct TokenMetrics(Arc<KeySet>);

impl TokenMetrics {
    /// Returns the collector of a key set.
    #[must_use]
    pub fn new(keys: Arc<KeySet>) -> Self {
        Self(keys)
    }
}

impl fmt::Debug for TokenMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMetrics").finish_non_exhaustive()
    }
}

impl Collector for TokenMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let KeySetStatus {
            keys,
            skipped,
            last_success,
            failures,
            last_failure,
        } = self.0.status();
        let mut gauge = |name, help, value: i64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge(
            "snapgate_control_token_keys",
            "Public keys by which tokens are verified.",
            i64::try_from(keys).unwrap_or(i64::MAX),
        )?;
        gauge(
            "snapgate_control_token_keys_skipped",
            "Keys of the JWK set that cannot be used.",
            i64::try_from(skipped).unwrap_or(i64::MAX),
        )?;
        gauge(
            "snapgate_control_token_keys_last_refresh_successful",
            "1 if the last refresh of the keys succeeded; otherwise the previous keys stay in force.",
            last_failure.is_none().into(),
        )?;
        gauge(
            "snapgate_control_token_keys_last_success_timestamp_seconds",
            "Time at which the source of the keys was last read, in seconds since the epoch; 0 if never.",
            last_success.map_or(0, Timestamp::as_second),
        )?;
        let metric = encoder.encode_descriptor(
            "snapgate_control_token_keys_failed_refreshes",
            "Failed refreshes of the keys.",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(failures).encode(metric)
    }
}

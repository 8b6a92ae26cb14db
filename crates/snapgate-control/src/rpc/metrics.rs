//! Metrics of the control plane, encoded for each scrape.

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use super::code::Code;
use super::request::Method;

closed_enum::closed_enum! {
    /// Why the server ended a connection.
    pub enum ConnectionEnd {
        Limit: "limit", "a new connection replaced it at the limit of all connections";
        AddressLimit: "address_limit", "a new connection replaced it at the limit of its address";
        HandshakeTime: "handshake_time", "the TLS handshake took too long";
        HandshakeFailed: "handshake_failed", "the TLS handshake failed";
        HeaderTime: "header_time", "the header of the first request took too long";
        Malformed: "malformed", "it was not HTTP";
        Broken: "broken", "the connection failed, or violated HTTP/2";
        Idle: "idle", "it had no request for too long";
        Age: "age", "it was open for too long";
        Unresponsive: "unresponsive", "the client did not read answers, or not confirm the end of the connection";
        Foreign: "foreign", "the local client is another user";
    }
}

closed_enum::closed_enum! {
    /// Outcome of a request to the endhost API.
    pub enum EndhostApiResult {
        Answered: "answered", "passed on to the client";
        Refused: "refused", "an error that the request caused";
        Failed: "failed", "an error of the endhost API";
        Invalid: "invalid", "not an answer to the request, or a larger one than allowed";
        Unreachable: "unreachable", "no connection";
        TimedOut: "timed_out", "no answer in time";
        NotAsked: "not_asked", "not sent, because earlier requests occupied the endhost API for too long";
    }
}

closed_enum::closed_enum! {
    /// Why a request of path segments was refused by a limit.
    pub enum LookupRefusal {
        SubscriberLimit: "subscriber_limit", "the subscriber has the maximum number of requests of path segments in progress";
        UnsentAnswers: "unsent_answers", "answers with path segments that clients have not read occupy all memory for them";
    }
}

/// Upper bounds of the buckets of the latency, in seconds.
const LATENCY_BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Collector of the metrics of a control plane, for the registry of an embedding program.
#[derive(Clone)]
pub struct ControlMetrics(Arc<Inner>);

struct Inner {
    rpcs: [[AtomicU64; Code::ALL.len()]; Method::ALL.len()],
    latency: [Histogram; Method::ALL.len()],
    refused_tokens: Reasons,
    refused_registrations: Reasons,
    accepted: AtomicU64,
    open: AtomicI64,
    ended: [AtomicU64; ConnectionEnd::ALL.len()],
    endhost_api: [AtomicU64; EndhostApiResult::ALL.len()],
    refused_lookups: [AtomicU64; LookupRefusal::ALL.len()],
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    /// Seconds since 1970; [`NO_CERTIFICATE`] without TLS.
    certificate_expiry: AtomicI64,
}

const NO_CERTIFICATE: i64 = i64::MIN;

/// Counts by reason. The reasons are from the closed sets of their sources.
#[derive(Default)]
struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    fn count(&self, reason: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_default() += 1;
    }

    fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(&reason, &count)| (reason, count))
            .collect()
    }
}

impl fmt::Debug for ControlMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlMetrics").finish_non_exhaustive()
    }
}

impl Default for ControlMetrics {
    /// Returns the metrics of a server with a certificate, before it serves.
    fn default() -> Self {
        Self(Arc::new(Inner {
            rpcs: array::from_fn(|_| counters()),
            latency: array::from_fn(|_| Histogram::new(LATENCY_BUCKETS)),
            refused_tokens: Reasons::default(),
            refused_registrations: Reasons::default(),
            accepted: AtomicU64::new(0),
            open: AtomicI64::new(0),
            ended: counters(),
            endhost_api: counters(),
            refused_lookups: counters(),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
            certificate_expiry: AtomicI64::new(0),
        }))
    }
}

impl ControlMetrics {
    pub(super) fn new() -> Self {
        let metrics = Self::default();
        metrics
            .0
            .certificate_expiry
            .store(NO_CERTIFICATE, Ordering::Relaxed);
        metrics
    }

    pub(super) fn answered(&self, method: Method, code: Code, latency: Duration) {
        count(&self.0.rpcs[method.index()][code.index()]);
        self.0.latency[method.index()].observe(latency.as_secs_f64());
    }

    pub(super) fn refused_token(&self, reason: &'static str) {
        self.0.refused_tokens.count(reason);
    }

    pub(super) fn refused_registration(&self, reason: &'static str) {
        self.0.refused_registrations.count(reason);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn accepted(&self) -> OpenConnection {
        count(&self.0.accepted);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }

    pub(super) fn ended(&self, end: ConnectionEnd) {
        count(&self.0.ended[end.index()]);
    }

    pub(super) fn asked_endhost_api(&self, result: EndhostApiResult) {
        count(&self.0.endhost_api[result.index()]);
    }

    pub(super) fn refused_lookup(&self, refusal: LookupRefusal) {
        count(&self.0.refused_lookups[refusal.index()]);
    }

    pub(super) fn reloaded(&self, succeeded: bool) {
        count(if succeeded {
            &self.0.reloads
        } else {
            &self.0.failed_reloads
        });
    }

    pub(super) fn set_certificate_expiry(&self, expiry: Timestamp) {
        let seconds = expiry.as_second();
        self.0.certificate_expiry.store(seconds, Ordering::Relaxed);
    }

    /// Returns the number of RPCs with this outcome.
    #[must_use]
    pub fn rpcs(&self, method: Method, code: Code) -> u64 {
        self.0.rpcs[method.index()][code.index()].load(Ordering::Relaxed)
    }

    /// Returns the number of connections that the server ended for this reason.
    #[must_use]
    pub fn ended_connections(&self, end: ConnectionEnd) -> u64 {
        self.0.ended[end.index()].load(Ordering::Relaxed)
    }
}

/// An open connection.
pub(super) struct OpenConnection(ControlMetrics);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn counters<const N: usize>() -> [AtomicU64; N] {
    array::from_fn(|_| AtomicU64::new(0))
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Collector for ControlMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut rpcs = encoder.encode_descriptor(
            "snapgate_control_rpcs",
            "Answered RPCs, by method and Connect code.",
            None,
            MetricType::Counter,
        )?;
        for (method, codes) in Method::ALL.iter().zip(&inner.rpcs) {
            for (code, number) in Code::ALL.iter().zip(codes) {
                let labels = [("method", method.name()), ("code", code.name())];
                sample(&mut rpcs, &labels, number)?;
            }
        }
        let mut latency = encoder.encode_descriptor(
            "snapgate_control_rpc_seconds",
            "Time from the end of a request's header to its answer, by method.",
            None,
            MetricType::Histogram,
        )?;
        for (method, histogram) in Method::ALL.iter().zip(&inner.latency) {
            histogram.encode(latency.encode_family(&[("method", method.name())])?)?;
        }
        encode_reasons(
            &mut encoder,
            "snapgate_control_refused_tokens",
            "Refused tokens, by reason.",
            &inner.refused_tokens,
        )?;
        encode_reasons(
            &mut encoder,
            "snapgate_control_refused_registrations",
            "Refused registrations, and other RPCs with a token that is revoked or of a revoked subscriber, by reason.",
            &inner.refused_registrations,
        )?;
        let accepted = encoder.encode_descriptor(
            "snapgate_control_connections",
            "Accepted connections, with those of the local socket.",
            None,
            MetricType::Counter,
        )?;
        constant(accepted, &inner.accepted)?;
        let open = encoder.encode_descriptor(
            "snapgate_control_open_connections",
            "Open connections, with those of the local socket.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(inner.open.load(Ordering::Relaxed)).encode(open)?;
        let mut ended = encoder.encode_descriptor(
            "snapgate_control_ended_connections",
            &explained(
                "Connections that the server ended, by reason.",
                &ConnectionEnd::ALL,
                ConnectionEnd::name,
            ),
            None,
            MetricType::Counter,
        )?;
        for (end, number) in ConnectionEnd::ALL.iter().zip(&inner.ended) {
            sample(&mut ended, &[("reason", end.name())], number)?;
        }
        let mut asked = encoder.encode_descriptor(
            "snapgate_control_endhost_api_requests",
            &explained(
                "Requests to the endhost API, by result.",
                &EndhostApiResult::ALL,
                EndhostApiResult::name,
            ),
            None,
            MetricType::Counter,
        )?;
        for (result, number) in EndhostApiResult::ALL.iter().zip(&inner.endhost_api) {
            sample(&mut asked, &[("result", result.name())], number)?;
        }
        let mut refused = encoder.encode_descriptor(
            "snapgate_control_refused_lookups",
            &explained(
                "Requests of path segments that a limit refused, by reason.",
                &LookupRefusal::ALL,
                LookupRefusal::name,
            ),
            None,
            MetricType::Counter,
        )?;
        for (refusal, number) in LookupRefusal::ALL.iter().zip(&inner.refused_lookups) {
            sample(&mut refused, &[("reason", refusal.name())], number)?;
        }
        self.encode_certificate(&mut encoder)
    }
}

impl ControlMetrics {
    fn encode_certificate(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let inner = &*self.0;
        let expiry = inner.certificate_expiry.load(Ordering::Relaxed);
        if expiry == NO_CERTIFICATE {
            return Ok(());
        }
        let metric = encoder.encode_descriptor(
            "snapgate_control_certificate_expiry_timestamp_seconds",
            "End of the certificate in use, in seconds since 1970.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(expiry).encode(metric)?;
        let mut reloads = encoder.encode_descriptor(
            "snapgate_control_certificate_reloads",
            "Reloads of the certificate, by result.",
            None,
            MetricType::Counter,
        )?;
        sample(&mut reloads, &[("result", "ok")], &inner.reloads)?;
        sample(&mut reloads, &[("result", "failed")], &inner.failed_reloads)
    }
}

fn constant(metric: MetricEncoder<'_>, number: &AtomicU64) -> fmt::Result {
    ConstCounter::new(number.load(Ordering::Relaxed)).encode(metric)
}

fn sample(
    metric: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    number: &AtomicU64,
) -> fmt::Result {
    constant(metric.encode_family(labels)?, number)
}

fn encode_reasons(
    encoder: &mut DescriptorEncoder<'_>,
    name: &'static str,
    help: &str,
    reasons: &Reasons,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, number) in reasons.all() {
        let labels = [("reason", reason)];
        ConstCounter::new(number).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Appends the meaning of each label value to a help text.
fn explained<T: Copy + fmt::Display>(
    help: &str,
    values: &[T],
    name: fn(T) -> &'static str,
) -> String {
    let mut text = help.to_owned();
    for &value in values {
        text.push_str(&format!(" {}: {value}.", name(value)));
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_happened_is_in_the_page() {
        let metrics = ControlMetrics::new();
        metrics.answered(
            Method::ListSegments,
            Code::Unavailable,
            Duration::from_millis(2),
        );
        metrics.refused_token("expired");
        metrics.refused_registration("revoked");
        let open = metrics.accepted();
        drop(metrics.accepted());
        metrics.ended(ConnectionEnd::Idle);
        metrics.asked_endhost_api(EndhostApiResult::TimedOut);
        metrics.refused_lookup(LookupRefusal::UnsentAnswers);
        metrics.reloaded(false);
        metrics.set_certificate_expiry(Timestamp::from_second(1_900_000_000).unwrap());

        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        drop(open);
        for line in [
            r#"snapgate_control_rpcs_total{method="ListSegments",code="unavailable"} 1"#,
            r#"snapgate_control_rpcs_total{method="ListSegments",code="ok"} 0"#,
            r#"snapgate_control_rpc_seconds_bucket{le="0.001",method="ListSegments"} 0"#,
            r#"snapgate_control_rpc_seconds_bucket{le="0.0025",method="ListSegments"} 1"#,
            r#"snapgate_control_refused_tokens_total{reason="expired"} 1"#,
            r#"snapgate_control_refused_registrations_total{reason="revoked"} 1"#,
            "snapgate_control_connections_total 2",
            "snapgate_control_open_connections 1",
            r#"snapgate_control_ended_connections_total{reason="idle"} 1"#,
            r#"snapgate_control_endhost_api_requests_total{result="timed_out"} 1"#,
            r#"snapgate_control_refused_lookups_total{reason="unsent_answers"} 1"#,
            r#"snapgate_control_certificate_reloads_total{result="failed"} 1"#,
            "snapgate_control_certificate_expiry_timestamp_seconds 1900000000",
        ] {
            assert!(page.lines().any(|l| l == line), "missing {line} in\n{page}");
        }
    }

    #[test]
    fn there_is_no_certificate_without_tls() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ControlMetrics::new()));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        assert!(!page.contains("certificate"));
    }
}

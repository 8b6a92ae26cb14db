//! Latency histograms.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Significant decimal digits of a recorded latency.
const DIGITS: u8 = 3;

/// Longest recorded latency, far longer than packets are waited for. Longer ones are recorded as this.
const LONGEST: Duration = Duration::from_secs(60);

/// Latencies in nanoseconds, with a resolution of three decimal digits.
///
/// Packets of a train were due together and are read together, so runs of equal values are recorded in one step.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    /// Last value and how often it came in a row; not in `histogram` yet.
    last_ns: u64,
    run: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the bounds are constants that the crate accepts"
        )]
        let histogram = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, DIGITS)
            .expect("constant bounds are valid");
        Self {
            histogram,
            last_ns: 0,
            run: 0,
        }
    }

    /// Records one latency.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        if latency_ns != self.last_ns {
            self.record_run();
            self.last_ns = latency_ns;
        }
        self.run += 1;
    }

    fn record_run(&mut self) {
        if self.run > 0 {
            self.histogram.saturating_record_n(self.last_ns, self.run);
            self.run = 0;
        }
    }

    /// Returns everything recorded so far, and starts anew.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// Adds the records of `other`.
    pub(crate) fn add(&mut self, mut other: Self) {
        other.record_run();
        // The bounds are equal, so no value is out of range.
        let _ = self.histogram.add(&other.histogram);
    }

    /// Returns everything recorded so far.
    pub(crate) fn histogram(&self) -> LatencyHistogram {
        let mut all = self.clone();
        all.record_run();
        LatencyHistogram(all.histogram)
    }
}

/// Latencies in nanoseconds with three significant digits, and how often each was measured.
///
/// Serialized as a string: HdrHistogram's compressed encoding (V2 with deflate) in base64, as in HdrHistogram's
/// interval logs, so that its tools can read and merge it.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LatencyHistogram(Histogram<u64>);

impl LatencyHistogram {
    /// Returns a few statistics.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let histogram = &self.0;
        LatencySummary {
            count: histogram.len(),
            min_ns: if histogram.is_empty() {
                0
            } else {
                histogram.min()
            },
            mean_ns: histogram.mean() as u64,
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p99_9_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        }
    }

    /// Returns the latency in nanoseconds that the share `quantile` (0 to 1) of all did not exceed.
    #[must_use]
    pub fn value_at_quantile(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }
}

impl From<LatencyHistogram> for String {
    fn from(histogram: LatencyHistogram) -> Self {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail, and the encoding holds 64-bit counters.
        let _ = V2DeflateSerializer::new().serialize(&histogram.0, &mut bytes);
        BASE64_STANDARD.encode(bytes)
    }
}

/// Error: a text is not a histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a histogram; expected HdrHistogram's V2 encoding, deflated, in base64")]
pub struct NotAHistogram;

impl TryFrom<String> for LatencyHistogram {
    type Error = NotAHistogram;

    fn try_from(text: String) -> Result<Self, NotAHistogram> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| NotAHistogram)?;
        Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map(Self)
            .map_err(|_| NotAHistogram)
    }
}

/// Distribution of latencies in nanoseconds, each from the scheduled time of a packet to the time it was read where it
/// arrived (a round trip for an echo). All zero if none arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub struct LatencySummary {
    /// Number of latencies.
    pub count: u64,
    /// Minimum.
    pub min_ns: u64,
    /// Arithmetic mean.
    pub mean_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p99_9_ns: u64,
    /// Maximum.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_cover_all_parts_added() {
        let mut all = Latencies::new();
        for part in 0..4 {
            let mut latencies = Latencies::new();
            for value in (part * 250)..((part + 1) * 250) {
                latencies.record(value + 1);
            }
            all.add(latencies.take());
            assert_eq!(latencies.histogram().summary().count, 0);
        }
        let summary = all.histogram().summary();
        assert_eq!(
            (summary.count, summary.min_ns, summary.max_ns),
            (1000, 1, 1000)
        );
        assert_eq!((summary.p50_ns, summary.p90_ns), (500, 900));
        assert_eq!((summary.p99_ns, summary.p99_9_ns), (990, 999));
    }

    #[test]
    fn runs_of_equal_values_are_counted() {
        let mut latencies = Latencies::new();
        for value in [5, 5, 5, 9, 5, 5] {
            latencies.record(value);
        }
        let summary = latencies.histogram().summary();
        assert_eq!((summary.count, summary.p50_ns, summary.max_ns), (6, 5, 9));
    }

    #[test]
    fn summary_without_replies_is_zero() {
        assert_eq!(
            Latencies::new().histogram().summary(),
            LatencySummary::default()
        );
    }

    #[test]
    fn too_long_latency_is_recorded_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        assert!(latencies.histogram().summary().max_ns >= LONGEST.as_nanos() as u64);
    }

    #[test]
    fn histogram_survives_encoding_and_decoding() {
        let mut latencies = Latencies::new();
        for value in 0..10_000 {
            latencies.record(value * value);
        }
        let histogram = latencies.histogram();
        let text = String::from(histogram.clone());
        assert_eq!(LatencyHistogram::try_from(text), Ok(histogram));
    }

    #[test]
    fn other_texts_are_not_histograms() {
        for text in ["", "no base64!", "aGVsbG8="] {
            assert_eq!(
                LatencyHistogram::try_from(text.to_owned()),
                Err(NotAHistogram)
            );
        }
    }
}

//! Reading the output of `snapload run --json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::input_file::{self, FileError};
use crate::latency::{LatencyHistogram, LatencySummary};
use crate::report::{Counts, Interval, ThreadReport};

/// A recorded run: the output of `snapload run --json`.
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// Intervals of the measurement.
    pub intervals: Vec<Interval>,
    /// Result.
    pub summary: RecordedSummary,
}

/// Result of a recorded run: [`Report`](crate::Report) as read back. Its settings are in [`Self::settings`].
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct RecordedSummary {
    /// Counts of packets and tunnels.
    #[serde(flatten)]
    pub counts: Counts,
    /// Number of sent packets that did not arrive.
    pub lost: u64,
    /// `lost` as a share of what was sent, 0 to 1.
    pub loss_share: f64,
    /// Packets sent per second.
    pub sent_pps: f64,
    /// Packets received per second.
    pub received_pps: f64,
    /// Bits of SCION packets received per second.
    pub received_bits_per_second: f64,
    /// True if (nearly) all packets that were due were sent.
    pub offered_rate_reached: bool,
    /// True if the generator was the limit.
    pub limited_by_generator: bool,
    /// Latency statistics.
    pub latency: LatencySummary,
    /// All latencies.
    pub latency_histogram: LatencyHistogram,
    /// CPU time of the generator's threads, in seconds.
    pub generator_cpu_seconds: f64,
    /// The generator's threads.
    pub threads: Vec<ThreadReport>,
    /// Failed checks, each as a sentence.
    pub failed_checks: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RecordedSummary {
    /// Returns the settings of the run by name: values of the summary without structure that are not results, and the
    /// number of tunnels.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &Value)> {
        let tunnels = self
            .rest
            .get("connect")
            .and_then(|connect| connect.get("tunnels"));
        self.rest
            .iter()
            .filter(|(_, value)| !value.is_object() && !value.is_array())
            .map(|(name, value)| (name.as_str(), value))
            .chain(tunnels.map(|tunnels| ("tunnels", tunnels)))
    }

    /// Returns the busy share of the busiest generator thread, 0 to 1.
    #[must_use]
    pub fn busiest_share(&self) -> f64 {
        let shares = self.threads.iter().map(|thread| thread.busy_share);
        shares.fold(0.0, f64::max)
    }
}

/// A line of `snapload run --json`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Interval(Box<Interval>),
    Summary(Box<RecordedSummary>),
}

impl Recording {
    /// Reads a recorded run.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is not the output of `snapload run --json`: intervals and a final summary.
    pub fn read_file(path: &Path) -> Result<Self, FileError> {
        Self::parse(path, &input_file::read(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let mut intervals = Vec::new();
        let mut summary = None;
        for (number, line) in (1..).zip(text.lines()) {
            if summary.is_some() {
                let problem = "expected nothing after the \"summary\": a file holds one run";
                return Err(FileError::at_line(path, number, problem));
            }
            match serde_json::from_str(line) {
                Ok(Line::Interval(interval)) => intervals.push(*interval),
                Ok(Line::Summary(of_run)) => summary = Some(*of_run),
                Err(error) => return Err(FileError::at_line(path, number, problem(line, &error))),
            }
        }
        let summary = summary.ok_or_else(|| {
            let end = text.lines().count() + 1;
            let problem =
                "the final \"summary\" of `snapload run --json` is missing; the run did not end";
            FileError::at_line(path, end, problem)
        })?;
        Ok(Self { intervals, summary })
    }
}

/// Returns why a line is not one of `snapload run --json`.
fn problem(line: &str, error: &serde_json::Error) -> String {
    let value = serde_json::from_str::<Value>(line).unwrap_or_default();
    let command = match value["type"].as_str() {
        Some("trial" | "found" | "search_summary") => "search",
        Some("phase" | "verdict") => "script",
        _ => {
            // The parser sees a single line, so its "line 1" would mislead.
            let error = error
                .to_string()
                .replace(" at line 1 column ", " at column ");
            let error = error.replace(" at column 0", "");
            return format!(
                "not a line of `snapload run --json` (an \"interval\" or a \"summary\" as a JSON object): {error}"
            );
        }
    };
    format!("expected the output of `snapload run --json`, got that of `snapload {command} --json`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Recording::parse(Path::new("a.json"), text)
            .unwrap_err()
            .to_string()
    }

    const INTERVAL: &str = r#"{"type":"interval","end_seconds":1.0,"seconds":1.0,"sent_pps":5.0,
        "received_pps":5.0,"sent":5,"received":5,"latency":{"count":5,"min_ns":1,"mean_ns":1,
        "p50_ns":1,"p90_ns":1,"p99_ns":1,"p99_9_ns":1,"max_ns":1}}"#;

    #[test]
    fn invalid_json_is_reported_with_its_line_and_column() {
        let text = format!("{}\nhello\n", INTERVAL.replace('\n', ""));
        let error = error(&text);
        assert!(error.starts_with("a.json:2: not a line of"), "{error}");
        assert!(error.ends_with("expected value at column 1"), "{error}");
    }

    #[test]
    fn other_json_is_refused() {
        let error = error("{\"type\":\"song\"}\n");
        assert!(error.contains("unknown variant `song`"), "{error}");
    }

    #[test]
    fn output_of_another_command_is_recognized() {
        let trial = error("{\"type\":\"trial\",\"number\":1}\n");
        assert!(
            trial.contains("that of `snapload search --json`"),
            "{trial}"
        );
        let interval = INTERVAL.replace('\n', "");
        let phase = error(&format!("{interval}\n{{\"type\":\"phase\"}}\n"));
        assert!(
            phase.contains("that of `snapload script --json`"),
            "{phase}"
        );
    }

    #[test]
    fn missing_summary_is_reported() {
        let text = INTERVAL.replace('\n', "");
        assert!(error(&text).starts_with("a.json:2: the final \"summary\""));
        assert!(error("").starts_with("a.json:1: the final \"summary\""));
    }
}

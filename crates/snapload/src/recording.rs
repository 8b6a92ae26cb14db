//! Reading the output of `snapload run --json`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::latency::{LatencyHistogram, LatencySummary};
use crate::report::{Counts, Interval, ThreadReport};

/// A recorded run: the output of `snapload run --json`.
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// Path of the file.
    pub path: PathBuf,
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

/// A line of another command's `--json`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Other {
    Trial {},
    Found {},
    SearchSummary {},
    Phase {},
    Verdict {},
}

impl Other {
    fn of(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    fn command(&self) -> &'static str {
        match self {
            Self::Trial {} | Self::Found {} | Self::SearchSummary {} => "search",
            Self::Phase {} | Self::Verdict {} => "script",
        }
    }
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not what `snapload run --json` writes: intervals and, as the
    /// last line, a summary.
    pub fn read_file(path: &Path) -> Result<Self, RecordingError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecordingError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, RecordingError> {
        let mut intervals = Vec::new();
        let mut summary = None;
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            if summary.is_some() {
                return Err(RecordingError::AfterTheEnd {
                    path: path.to_owned(),
                    line: line_number,
                });
            }
            match serde_json::from_str(line) {
                Ok(Line::Interval(interval)) => intervals.push(*interval),
                Ok(Line::Summary(of_run)) => summary = Some(*of_run),
                Err(source) => {
                    let path = path.to_owned();
                    return Err(match Other::of(line) {
                        Some(other) => RecordingError::OtherCommand {
                            path,
                            command: other.command(),
                        },
                        None => RecordingError::NotALine {
                            path,
                            line: line_number,
                            source,
                        },
                    });
                }
            }
        }
        match summary {
            Some(summary) => Ok(Self {
                path: path.to_owned(),
                intervals,
                summary,
            }),
            None => Err(RecordingError::NoSummary {
                path: path.to_owned(),
                line: text.lines().count() + 1,
            }),
        }
    }
}

/// Why a file is no recorded run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another command wrote it.
    #[error(
        "{}: this is what `snapload {command} --json` wrote; what can be compared is what `snapload \
         run --json` writes", path.display()
    )]
    OtherCommand {
        /// The file.
        path: PathBuf,
        /// Which one.
        command: &'static str,
    },
    /// A line is neither an interval nor a summary.
    #[error(
        "{}:{line}: not a line of `snapload run --json`, which writes an \"interval\" or a \
         \"summary\" as a JSON object: {}", path.display(), without_line(source)
    )]
    NotALine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser stumbled over.
        source: serde_json::Error,
    },
    /// The run was not recorded to its end.
    #[error(
        "{}:{line}: the \"summary\" that ends the output of `snapload run --json` is missing; was \
         the run interrupted?", path.display()
    )]
    NoSummary {
        /// The file.
        path: PathBuf,
        /// The line where it belongs.
        line: usize,
    },
    /// There is more than one run.
    #[error(
        "{}:{line}: there is more after the \"summary\"; one file holds the output of one \
         `snapload run --json`", path.display()
    )]
    AfterTheEnd {
        /// The file.
        path: PathBuf,
        /// The line that is too much.
        line: usize,
    },
}

/// The parser sees one line, so its "line 1" would mislead.
fn without_line(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", " at column ")
        .replace(" at column 0", "")
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
    fn what_is_no_json_is_named_with_its_line_and_column() {
        let text = format!("{}\nhello\n", INTERVAL.replace('\n', ""));
        let error = error(&text);
        assert!(error.starts_with("a.json:2: not a line of"), "{error}");
        assert!(error.ends_with("expected value at column 1"), "{error}");
    }

    #[test]
    fn other_json_is_told_from_a_line_of_a_run() {
        let error = error("{\"type\":\"song\"}\n");
        assert!(error.contains("unknown variant `song`"), "{error}");
    }

    #[test]
    fn what_another_command_wrote_is_told_by_its_name() {
        let trial = error("{\"type\":\"trial\",\"number\":1}\n");
        assert!(trial.contains("`snapload search --json` wrote"), "{trial}");
        let interval = INTERVAL.replace('\n', "");
        let phase = error(&format!("{interval}\n{{\"type\":\"phase\"}}\n"));
        assert!(phase.contains("`snapload script --json` wrote"), "{phase}");
    }

    #[test]
    fn a_run_without_its_end_is_noticed() {
        let text = INTERVAL.replace('\n', "");
        assert!(error(&text).starts_with("a.json:2: the \"summary\""));
        assert!(error("").starts_with("a.json:1: the \"summary\""));
    }
}

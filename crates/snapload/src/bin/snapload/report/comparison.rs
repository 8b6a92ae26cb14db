//! Comparison of runs: settings that differ, and the ratios of counts, rates, latencies and CPU time.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use snapload::{RecordedSummary, Recording};

use crate::human::{grouped, scaled, time};
use crate::table::write_aligned;

/// A setting in which the runs differ.
#[derive(Serialize)]
struct Setting<'a> {
    setting: &'a str,
    /// In the order of the runs; null if a run does not have it.
    values: Vec<Option<&'a Value>>,
}

/// A result of all runs.
#[derive(Serialize)]
struct Row {
    result: &'static str,
    unit: Unit,
    /// In the order of the runs; null if nothing was measured.
    values: Vec<Option<f64>>,
    /// Ratio of each value to the first run's; null if that is 0.
    ratios: Vec<Option<f64>>,
}

#[derive(Clone, Copy, Serialize)]
enum Unit {
    #[serde(rename = "packets")]
    Packets,
    #[serde(rename = "share")]
    Share,
    #[serde(rename = "share")]
    BusyShare,
    #[serde(rename = "packets/s")]
    PacketsPerSecond,
    #[serde(rename = "bit/s")]
    BitsPerSecond,
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "s")]
    Seconds,
}

/// See the module.
pub(super) struct Comparison<'a> {
    names: &'a [String],
    settings: Vec<Setting<'a>>,
    rows: Vec<Row>,
    remarks: Vec<String>,
}

type Measure = fn(&RecordedSummary) -> Option<f64>;

/// Compared results: name, unit, and value in a summary.
const RESULTS: [(&str, Unit, Measure); 19] = [
    ("sent", Unit::Packets, |run| Some(run.counts.sent as f64)),
    ("received", Unit::Packets, |run| {
        Some(run.counts.received as f64)
    }),
    ("lost", Unit::Packets, |run| Some(run.lost as f64)),
    ("loss", Unit::Share, |run| Some(run.loss_share)),
    ("reordered", Unit::Packets, |run| {
        Some(run.counts.reordered as f64)
    }),
    ("duplicated", Unit::Packets, |run| {
        Some(run.counts.duplicated as f64)
    }),
    ("corrupted", Unit::Packets, |run| {
        Some(run.counts.corrupted as f64)
    }),
    ("sent rate", Unit::PacketsPerSecond, |run| {
        Some(run.sent_pps)
    }),
    ("received rate", Unit::PacketsPerSecond, |run| {
        Some(run.received_pps)
    }),
    ("received bits", Unit::BitsPerSecond, |run| {
        Some(run.received_bits_per_second)
    }),
    ("min", Unit::Nanoseconds, |run| {
        latency(run, run.latency.min_ns)
    }),
    ("mean", Unit::Nanoseconds, |run| {
        latency(run, run.latency.mean_ns)
    }),
    ("p50", Unit::Nanoseconds, |run| {
        latency(run, run.latency.p50_ns)
    }),
    ("p90", Unit::Nanoseconds, |run| {
        latency(run, run.latency.p90_ns)
    }),
    ("p99", Unit::Nanoseconds, |run| {
        latency(run, run.latency.p99_ns)
    }),
    ("p99.9", Unit::Nanoseconds, |run| {
        latency(run, run.latency.p99_9_ns)
    }),
    ("max", Unit::Nanoseconds, |run| {
        latency(run, run.latency.max_ns)
    }),
    ("generator CPU", Unit::Seconds, |run| {
        Some(run.generator_cpu_seconds)
    }),
    ("busiest thread", Unit::BusyShare, |run| {
        Some(run.busiest_share())
    }),
];

/// Returns a latency, if there was one.
fn latency(run: &RecordedSummary, ns: u64) -> Option<f64> {
    (run.latency.count > 0).then_some(ns as f64)
}

/// Rows that are omitted if they are 0 in all runs.
const RARE: [&str; 3] = ["reordered", "duplicated", "corrupted"];

impl<'a> Comparison<'a> {
    /// Compares runs with these names.
    pub(super) fn of(names: &'a [String], recordings: &'a [Recording]) -> Self {
        Self {
            names,
            settings: settings(recordings),
            rows: RESULTS
                .iter()
                .map(|&(result, unit, measure)| Row::of(result, unit, measure, recordings))
                .collect(),
            remarks: names
                .iter()
                .zip(recordings)
                .flat_map(|(name, recording)| remarks(name, &recording.summary))
                .collect(),
        }
    }

    /// Writes one JSON object per line: settings that differ, then results.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        for setting in &self.settings {
            serde_json::to_writer(&mut *out, setting)?;
            writeln!(out)?;
        }
        for row in &self.rows {
            serde_json::to_writer(&mut *out, row)?;
            writeln!(out)?;
        }
        Ok(())
    }

    /// Writes a table with a column per run and, from the second run on, its ratio to the first.
    pub(super) fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let mut lines = vec![self.header()];
        for setting in &self.settings {
            lines.push(setting.cells());
        }
        if !self.settings.is_empty() {
            lines.push(Vec::new());
        }
        for row in &self.rows {
            let is_zero = row.values.iter().all(|value| *value == Some(0.0));
            if !(is_zero && RARE.contains(&row.result)) {
                lines.push(row.cells());
            }
        }
        write_aligned(out, &lines)?;
        self.remarks
            .iter()
            .try_for_each(|remark| writeln!(out, "{remark}"))
    }

    fn header(&self) -> Vec<String> {
        let mut cells = vec![String::new()];
        for (index, name) in self.names.iter().enumerate() {
            cells.push(name.clone());
            if index > 0 {
                cells.push("ratio".to_owned());
            }
        }
        cells
    }
}

/// Returns the settings in which the runs differ, in alphabetical order.
fn settings(recordings: &[Recording]) -> Vec<Setting<'_>> {
    let mut names: Vec<&str> = recordings
        .iter()
        .flat_map(|recording| recording.summary.settings())
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|setting| Setting {
            setting,
            values: recordings
                .iter()
                .map(|recording| {
                    let mut settings = recording.summary.settings();
                    settings
                        .find(|(name, _)| *name == setting)
                        .map(|(_, value)| value)
                })
                .collect(),
        })
        .filter(|setting| {
            setting
                .values
                .iter()
                .any(|value| *value != setting.values[0])
        })
        .collect()
}

/// Returns the limitations of a run's results.
fn remarks(name: &str, run: &RecordedSummary) -> Vec<String> {
    let mut remarks = Vec::new();
    if run.limited_by_generator {
        remarks.push(format!(
            "{name}: limited by the generator; the gateway may reach more"
        ));
    }
    remarks.extend(
        run.failed_checks
            .iter()
            .map(|check| format!("{name}: {check}")),
    );
    remarks
}

impl Setting<'_> {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.setting.to_owned()];
        for (index, value) in self.values.iter().enumerate() {
            cells.push(match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => "-".to_owned(),
                Some(value) => value.to_string(),
            });
            if index > 0 {
                cells.push(String::new());
            }
        }
        cells
    }
}

impl Row {
    fn of(result: &'static str, unit: Unit, measure: Measure, recordings: &[Recording]) -> Self {
        let values: Vec<_> = recordings
            .iter()
            .map(|recording| measure(&recording.summary))
            .collect();
        let first = values
            .first()
            .copied()
            .flatten()
            .filter(|first| *first != 0.0);
        let ratios = values
            .iter()
            .map(|value| Some((*value)? / first?))
            .collect();
        Self {
            result,
            unit,
            values,
            ratios,
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.result.to_owned()];
        for (index, (value, ratio)) in self.values.iter().zip(&self.ratios).enumerate() {
            cells.push(value.map_or_else(|| "-".to_owned(), |value| self.unit.written(value)));
            if index > 0 {
                cells.push(ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
            }
        }
        cells
    }
}

impl Unit {
    fn written(self, value: f64) -> String {
        match self {
            Self::Packets => grouped(value as u64),
            Self::Share => format!("{:.4} %", value * 100.0),
            Self::BusyShare => format!("{:.0} %", value * 100.0),
            Self::PacketsPerSecond => scaled(value, "pps"),
            Self::BitsPerSecond => scaled(value, "bit/s"),
            Self::Nanoseconds => time(value as u64),
            Self::Seconds => format!("{value:.2} s"),
        }
    }
}

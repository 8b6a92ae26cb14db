//! Comparison of runs: settings that differ, and the ratios of counts, rates, latencies and CPU time.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use snapload::{RecordedSummary, Recording};

use crate::human::{grouped, percent, scaled, time};
use crate::table::aligned;

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

/// Comparison of runs.
pub(super) struct Comparison<'a> {
    names: &'a [String],
    settings: Vec<Setting<'a>>,
    rows: Vec<Row>,
    remarks: Vec<String>,
}

/// Returns the compared results of a run: name, unit and value, if there is one.
fn results(run: &RecordedSummary) -> [(&'static str, Unit, Option<f64>); 19] {
    use Unit::{BitsPerSecond, BusyShare, PacketsPerSecond, Seconds, Share};

    let (counts, latency) = (&run.counts, &run.latency);
    let packets = |name, count: u64| (name, Unit::Packets, Some(count as f64));
    let time = |name, ns: u64| {
        let value = (latency.count > 0).then_some(ns as f64);
        (name, Unit::Nanoseconds, value)
    };
    [
        packets("sent", counts.sent),
        packets("received", counts.received),
        packets("lost", run.lost),
        ("loss", Share, Some(run.loss_share)),
        packets("reordered", counts.reordered),
        packets("duplicated", counts.duplicated),
        packets("corrupted", counts.corrupted),
        ("sent rate", PacketsPerSecond, Some(run.sent_pps)),
        ("received rate", PacketsPerSecond, Some(run.received_pps)),
        (
            "received bits",
            BitsPerSecond,
            Some(run.received_bits_per_second),
        ),
        time("min", latency.min_ns),
        time("mean", latency.mean_ns),
        time("p50", latency.p50_ns),
        time("p90", latency.p90_ns),
        time("p99", latency.p99_ns),
        time("p99.9", latency.p99_9_ns),
        time("max", latency.max_ns),
        ("generator CPU", Seconds, Some(run.generator_cpu_seconds)),
        ("busiest thread", BusyShare, Some(run.busiest_share())),
    ]
}

/// Rows that are omitted if they are 0 in all runs.
const RARE: [&str; 3] = ["reordered", "duplicated", "corrupted"];

impl<'a> Comparison<'a> {
    /// Compares runs with these names.
    pub(super) fn of(names: &'a [String], recordings: &'a [Recording]) -> Self {
        Self {
            names,
            settings: settings(recordings),
            rows: rows(recordings),
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
        out.write_all(aligned(&lines).as_bytes())?;
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

/// Returns the results of all runs.
fn rows(recordings: &[Recording]) -> Vec<Row> {
    let runs: Vec<_> = recordings
        .iter()
        .map(|recording| results(&recording.summary))
        .collect();
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let row = |(index, &(result, unit, first)): (usize, &(&'static str, Unit, Option<f64>))| {
        let values: Vec<_> = runs.iter().map(|run| run[index].2).collect();
        let first = first.filter(|first| *first != 0.0);
        let ratios = values
            .iter()
            .map(|value| Some((*value)? / first?))
            .collect();
        Row {
            result,
            unit,
            values,
            ratios,
        }
    };
    first.iter().enumerate().map(row).collect()
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
            Self::Share => percent(value),
            Self::BusyShare => format!("{:.0} %", value * 100.0),
            Self::PacketsPerSecond => scaled(value, "pps"),
            Self::BitsPerSecond => scaled(value, "bit/s"),
            Self::Nanoseconds => time(value as u64),
            Self::Seconds => format!("{value:.2} s"),
        }
    }
}

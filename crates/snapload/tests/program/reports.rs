//! Output of `snapload report`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::{PATIENT, gateway, run, snapload, text};
use testkit::no_fault;

/// Records a run with `more` arguments.
fn record(directory: &Path, name: &str, more: &str) -> PathBuf {
    let output = run(&gateway(no_fault()), &format!("--json {PATIENT} {more}"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let path = directory.join(name);
    std::fs::write(&path, output.stdout).unwrap();
    path
}

fn report(files: &[&Path], more: &str) -> std::process::Output {
    let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
    snapload(&format!("report {} {more}", files.join(" ")))
}

#[test]
fn table_has_a_column_per_run_and_the_settings_that_differ() {
    let directory = tempfile::tempdir().unwrap();
    let slow = record(directory.path(), "slow.json", "--rate 200");
    let fast = record(directory.path(), "fast.json", "--rate 400");
    let output = report(&[&slow, &fast, &slow], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let row = |name: &str| -> Vec<&str> {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().collect()
    };
    assert_eq!(row("offered_pps"), ["200.0", "400.0", "200.0"]);
    assert_eq!(row("sent  "), ["60", "120", "2.00", "60", "1.00"]);
    assert_eq!(row("lost  "), ["0", "0", "-", "0", "-"]);
    assert!(
        !table.contains("size") && !table.contains("corrupted"),
        "{table}"
    );
}

#[test]
fn settings_do_not_include_results() {
    let directory = tempfile::tempdir().unwrap();
    let path = record(directory.path(), "a.json", "--rate 200");
    let recording = snapload::Recording::read_file(&path).unwrap();
    let settings: Vec<_> = recording.summary.settings().map(|(name, _)| name).collect();
    assert_eq!(settings, SETTINGS);
    assert_eq!(
        recording.summary.latency,
        recording.summary.latency_histogram.summary()
    );
    assert_eq!(recording.summary.latency.count, 60);
}

/// Settings in the summary of an echo run.
const SETTINGS: [&str; 9] = [
    "direction",
    "gateway",
    "interrupted",
    "offered_pps",
    "seconds",
    "size_bytes",
    "train",
    "used_up",
    "tunnels",
];

#[test]
fn json_has_values_and_ratios() {
    let directory = tempfile::tempdir().unwrap();
    let slow = record(directory.path(), "slow.json", "--rate 200");
    let fast = record(directory.path(), "fast.json", "--rate 400");
    let output = report(&[&slow, &fast], "--json");
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let offered = lines
        .iter()
        .find(|line| line["setting"] == "offered_pps")
        .unwrap();
    assert_eq!(offered["values"], serde_json::json!([200.0, 400.0]));
    let sent = lines.iter().find(|line| line["result"] == "sent").unwrap();
    assert_eq!(sent["ratios"], serde_json::json!([1.0, 2.0]));
}

#[test]
fn file_that_is_not_a_recording_is_reported_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    std::fs::write(&path, "sent 5 packets\n").unwrap();
    let output = report(&[&path], "");
    assert_eq!(output.status.code(), Some(2));
    let wanted = format!(
        "error: {}:1: not a line of `snapload run --json`",
        path.display()
    );
    assert!(
        text(&output.stderr).starts_with(&wanted),
        "{}",
        text(&output.stderr)
    );
}

#[cfg(feature = "plot")]
#[test]
fn figure_format_depends_on_the_file_name() {
    let directory = tempfile::tempdir().unwrap();
    let run = record(directory.path(), "a<b.json", "--rate 200");
    let plot = |name: &str| {
        let path = directory.path().join(name);
        let output = report(&[&run], &format!("--plot {}", path.display()));
        (
            output.status.code(),
            std::fs::read(path).unwrap_or_default(),
        )
    };
    let (code, svg) = plot("figure.svg");
    assert_eq!(code, Some(0));
    let svg = text(&svg);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains(">a&lt;b</text>") && svg.contains(">percentile</text>"));
    let (code, png) = plot("figure.png");
    assert_eq!(code, Some(0));
    assert!(png.starts_with(b"\x89PNG\r\n"));
    assert!(plot("FIGURE.SVG").1.starts_with(b"<svg "));
    assert_eq!(plot("figure.jpg"), (Some(2), Vec::new()));
    assert_eq!(plot("no/directory.svg").0, Some(1));
    let output = report(&[&run], "--plot figure.jpg");
    assert_eq!(text(&output.stdout), "", "no table above the error");
}

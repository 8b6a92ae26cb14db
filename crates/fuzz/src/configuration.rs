//! Configuration files.

use std::io::Write as _;
use std::sync::LazyLock;

use serde_json::Value;
use snapgate::fuzzing::{Configuration, FILE_NAME, read_configuration};
use tempfile::NamedTempFile;

/// File with a private key, which every configuration needs.
static PRIVATE_KEY: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "wgq5jqiVZO7IYiEn88NNhqB7FWwv9eJAaow7ib6Eclw=").expect("room for a key");
    file
});

/// Reads `data` as a configuration file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = read_configuration(text, PRIVATE_KEY.path());
    for complaint in &read.complaints {
        assert_names_a_line(complaint, FILE_NAME, text);
    }
    if read.complaints.is_empty() {
        assert_all_values_are_read(text, &read);
    }
    match &read.effective {
        Ok(effective) => assert_accepted_again(effective),
        Err(complaints) => assert!(complaints.iter().all(|complaint| !complaint.is_empty())),
    }
}

/// Asserts that an error begins with the file name and a line number, at most one past the end, and has a text.
pub(crate) fn assert_names_a_line(complaint: &str, file_name: &str, text: &str) {
    let place = complaint
        .strip_prefix(file_name)
        .and_then(|rest| rest.strip_prefix(':'))
        .and_then(|rest| rest.split_once(": "));
    let Some((line, what)) = place else {
        panic!("no file name and line: {complaint:?}");
    };
    let line: usize = line.parse().expect("a line number");
    let lines = 1 + text.matches('\n').count();
    assert!((1..=lines).contains(&line), "{complaint:?}");
    assert!(!what.is_empty());
}

/// Asserts that all values of a valid file are read.
fn assert_all_values_are_read(text: &str, read: &Configuration) {
    // This parser refuses all numbers outside TOML's range, the gateway only those that it uses.
    let Ok(table) = toml::from_str::<toml::Table>(text) else {
        return;
    };
    for (key, value) in &table {
        let given = read.given.iter().find(|(name, _)| name == key);
        let given = given.map_or(0, |(_, texts)| texts.len());
        let written = match value {
            toml::Value::Array(entries) => entries.len(),
            toml::Value::Table(entries) => entries.len(),
            _ => 1,
        };
        assert_eq!(given, written, "{key}");
    }
}

/// Asserts that a file of the effective settings results in the same effective settings.
fn assert_accepted_again(effective: &[(&'static str, Value)]) {
    let file: toml::Table = effective
        .iter()
        .filter(|(name, _)| *name != "private_key_file")
        .filter_map(|(name, value)| Some(((*name).to_owned(), to_toml(value)?)))
        .collect();
    let text = file.to_string();
    let again = read_configuration(&text, PRIVATE_KEY.path());
    assert_eq!(again.complaints, Vec::<String>::new(), "{text}");
    assert_eq!(again.effective.as_deref(), Ok(effective), "{text}");
}

/// Converts a setting; `None` if it is not set.
fn to_toml(value: &Value) -> Option<toml::Value> {
    toml::Value::try_from(value)
        .ok()
        .filter(|_| !value.is_null())
}

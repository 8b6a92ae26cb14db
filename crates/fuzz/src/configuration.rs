//! Configuration files.

use std::io::Write as _;
use std::sync::LazyLock;

use serde_json::Value;
use snapgate::fuzzing::{Configuration, FILE_NAME, read_configuration};
use tempfile::NamedTempFile;

/// The gateway needs a private key; this is nobody's.
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
        assert_all_is_given(text, &read);
    }
    match &read.effective {
        Ok(effective) => assert_can_be_written_again(effective),
        Err(complaints) => assert!(complaints.iter().all(|complaint| !complaint.is_empty())),
    }
}

/// Asserts that a complaint begins with a line of the file, or the one behind its end, and says more.
pub(crate) fn assert_names_a_line(complaint: &str, file_name: &str, text: &str) {
    let place = complaint
        .strip_prefix(file_name)
        .and_then(|rest| rest.strip_prefix(':'))
        .and_then(|rest| rest.split_once(": "));
    let Some((line, what)) = place else {
        panic!("no place: {complaint:?}");
    };
    let line: usize = line.parse().expect("a number of a line");
    let lines = 1 + text.matches('\n').count();
    assert!((1..=lines).contains(&line), "{complaint:?}");
    assert!(!what.is_empty());
}

/// Asserts that every key of a file without fault gives as many values as it has.
fn assert_all_is_given(text: &str, read: &Configuration) {
    // Numbers beyond TOML's are refused there, and here only when they are used.
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

/// Asserts that the effective settings, given in a file, are effective again.
fn assert_can_be_written_again(effective: &[(&'static str, Value)]) {
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

/// `None` for what is not set.
fn to_toml(value: &Value) -> Option<toml::Value> {
    toml::Value::try_from(value)
        .ok()
        .filter(|_| !value.is_null())
}

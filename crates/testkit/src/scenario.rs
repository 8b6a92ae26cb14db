//! Small scenarios for tests of `snapload`.

use tempfile::NamedTempFile;

/// Scenario of one phase with one population, to which tests append.
pub const HONEST: &str = include_str!("scenario/honest.toml");

/// Returns [`HONEST`] with a short drain, for tests in which packets are lost.
#[must_use]
pub fn lossy() -> String {
    HONEST.replace("drain = \"1m\"", "drain = \"200ms\"")
}

/// Writes a scenario with the phases `phases` to a temporary file.
#[must_use]
pub fn scenario_file(phases: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("title = \"a test\"\n{phases}")).unwrap();
    file
}

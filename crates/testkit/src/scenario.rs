//! Scenarios of `snapload` in small.

use tempfile::NamedTempFile;

/// One phase with one population, to which tests append more.
pub const HONEST: &str = include_str!("scenario/honest.toml");

/// [`HONEST`] where packets are lost, which need not be waited for.
#[must_use]
pub fn lossy() -> String {
    HONEST.replace("drain = \"1m\"", "drain = \"200ms\"")
}

/// Writes a scenario of phases.
///
/// # Panics
///
/// When there is no room for it.
#[must_use]
pub fn scenario_file(phases: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("title = \"a test\"\n{phases}")).unwrap();
    file
}

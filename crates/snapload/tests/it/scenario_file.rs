//! Scenarios of one population, as files.

/// Writes a scenario of phases without warm-up.
pub(crate) fn scenario_file(phases: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("title = \"a test\"\n{phases}")).unwrap();
    file
}

pub(crate) const HONEST: &str = "
    [[phase]]
    name = \"first\"
    duration = \"400ms\"
    warm_up = \"0s\"
    drain = \"1m\"
    [[phase.load]]
    name = \"honest\"
    tunnels = 5
    rate = 500
    size = 100
";

/// The same where packets are lost, which need not be waited for.
pub(crate) fn lossy() -> String {
    HONEST.replace("drain = \"1m\"", "drain = \"200ms\"")
}

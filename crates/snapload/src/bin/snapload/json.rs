//! Output for programs: one JSON object per line on standard output, and nothing else there.

use std::io::{self, Write as _};

use serde::Serialize;

/// Prints a value as one line.
pub(crate) fn print(line: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, line)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

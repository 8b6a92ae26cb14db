//! Output and exit codes of commands.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tracing::Level;

use crate::logging;

/// Exit code for a failure at run time.
pub(super) const FAILURE: u8 = 1;

/// Exit code for invalid usage or configuration.
pub(super) const USAGE: u8 = 2;

/// Prints to standard output and returns the exit code.
pub(super) fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    end_after_printing(written.and_then(|()| stdout.flush()))
}

/// Returns the exit code after a write to standard output.
pub(super) fn end_after_printing(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe on purpose, such as `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(FAILURE),
        Err(error) => fail(
            FAILURE,
            &format!("cannot write to standard output: {error}"),
        ),
    }
}

/// Prints an error and returns the exit code.
pub(super) fn fail(code: u8, error: &dyn Display) -> ExitCode {
    print_error(error);
    ExitCode::from(code)
}

/// Prints an error to standard error.
pub(super) fn print_error(error: &dyn Display) {
    logging::print(Level::ERROR, error);
}

/// Prints a warning to standard error.
pub(super) fn print_warning(warning: &dyn Display) {
    logging::print(Level::WARN, warning);
}

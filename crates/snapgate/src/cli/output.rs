//! What commands print, and how they end.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tracing::Level;

use crate::logging;

/// The command could not do its work.
pub(super) const FAILURE: u8 = 1;

/// What was asked for makes no sense.
pub(super) const USAGE: u8 = 2;

/// Prints to standard output and ends the command.
pub(super) fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    end_after_printing(written.and_then(|()| stdout.flush()))
}

/// Ends the command after its result went to standard output, or did not.
pub(super) fn end_after_printing(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        // Who closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(FAILURE),
        Err(error) => fail(
            FAILURE,
            &format!("cannot write to standard output: {error}"),
        ),
    }
}

/// Prints an error and ends the command.
pub(super) fn fail(code: u8, error: &dyn Display) -> ExitCode {
    print_error(error);
    ExitCode::from(code)
}

/// Prints one error to standard error.
pub(super) fn print_error(error: &dyn Display) {
    logging::print(Level::ERROR, error);
}

/// Prints one warning to standard error.
pub(super) fn print_warning(warning: &dyn Display) {
    logging::print(Level::WARN, warning);
}

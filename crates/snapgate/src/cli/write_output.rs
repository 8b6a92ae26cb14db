//! `snapgate write-output`, started by `snapgate run`.

use std::process::ExitCode;

use clap::Args;

use super::output::{FAILURE, fail};
use crate::logging::LogFormat;
use crate::standard_streams;

#[derive(Args)]
pub(super) struct WriteOutputArgs {
    /// Format of lines about lost output.
    format: LogFormat,
}

/// Writes the gateway's output to the file behind standard error.
pub(super) fn write_output(arguments: &WriteOutputArgs) -> ExitCode {
    match standard_streams::serve(arguments.format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(
            FAILURE,
            &format!("cannot write the output of `snapgate run`: {error}"),
        ),
    }
}

//! `snapgate serve-files`, started by `snapgate run`.

use std::process::ExitCode;

use clap::Args;

use super::output::{FAILURE, fail};
use crate::file_process::FileTask;
use crate::{accounting, reload, state};

#[derive(Args)]
pub(super) struct ServeFilesArgs {
    task: FileTask,
}

/// Accesses files until the gateway's process ends.
pub(super) fn serve_files(arguments: &ServeFilesArgs) -> ExitCode {
    let served = match arguments.task {
        FileTask::State => state::serve_files(),
        FileTask::Identities => reload::serve_file(),
        FileTask::Accounting => accounting::serve_file(),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        // A person sees it who starts this command.
        Err(error) => fail(
            FAILURE,
            &format!("cannot serve files, which only `snapgate run` asks for: {error}"),
        ),
    }
}

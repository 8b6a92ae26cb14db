//! Standard input, output and error of `snapgate run`.
//!
//! A process with a file open on storage that hangs cannot end: it waits in write(2), or in close(2) when it ends, and
//! not even SIGKILL helps. So a stream that is a file is given to another process, and replaced by a pipe to it. What the
//! Rust runtime prints when it aborts the process goes through the pipe, too. Other streams (pipes, sockets, terminals)
//! stay as they are.
//!
//! Standard error and standard output share a process if they are the same file, which keeps their order.

use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::time::Instant;

use self::output_process::OutputProcess;
use crate::logging::LogFormat;

mod file_writer;
mod output_process;
mod stream;

pub(crate) use file_writer::serve;
pub(crate) use output_process::COMMAND;
pub(crate) use stream::Stream;

/// The processes that were started.
static PROCESSES: OnceLock<Vec<OutputProcess>> = OnceLock::new();

fn processes() -> &'static [OutputProcess] {
    PROCESSES.get().map_or(&[], Vec::as_slice)
}

/// Gives streams that are files to other processes, and waits until these are ready. Lines about lost output have this
/// format. After an error, the streams that are left stay as they are.
///
/// Signals must be blocked, because the processes get the mask of the calling thread: a signal to all processes of the
/// service or the terminal must not end them.
///
/// # Errors
///
/// A process cannot be started, or has ended at once.
pub(crate) fn detach_files(format: LogFormat) -> io::Result<()> {
    let mut processes = Vec::new();
    let outputs = detach_outputs(format, &mut processes);
    // Called once.
    let _ = PROCESSES.set(processes);
    let input = detach_input();
    outputs.and(input)
}

fn detach_outputs(format: LogFormat, processes: &mut Vec<OutputProcess>) -> io::Result<()> {
    let error = Stream::Error.file()?;
    let output = Stream::Output.file()?;
    if error.is_some() {
        let shared: &[Stream] = if output == error {
            &[Stream::Error, Stream::Output]
        } else {
            &[Stream::Error]
        };
        processes.push(OutputProcess::start(shared, format)?);
    }
    if output.is_some() && output != error {
        processes.push(OutputProcess::start(&[Stream::Output], format)?);
    }
    Ok(())
}

/// Nothing reads from standard input any more.
fn detach_input() -> io::Result<()> {
    if Stream::Input.file()?.is_some() {
        Stream::Input.replace(&File::open("/dev/null")?)?;
    }
    Ok(())
}

/// Logs the end of a process that was killed.
pub(crate) fn check() {
    for process in processes() {
        if let Some(status) = process.ended() {
            tracing::error!(
                %status,
                streams = process.names(),
                hint = "restart the gateway",
                "output is lost, because the process that writes it has ended"
            );
        }
    }
}

/// Returns the number of lines of standard error that could not be written to its file.
pub(crate) fn lost_lines() -> u64 {
    processes()
        .iter()
        .filter(|process| process.streams().contains(&Stream::Error))
        .map(OutputProcess::lost_lines)
        .sum()
}

/// Waits until all that was written to these streams is in their files, at most until `deadline`. What is written to
/// them from then on is lost. A file that has another stream, too, is not waited for.
///
/// # Errors
///
/// The time is over, or something could not be written.
pub(crate) fn finish(streams: &[Stream], deadline: Instant) -> io::Result<()> {
    let is_finished = |process: &&OutputProcess| {
        let mut shared = process.streams().iter();
        shared.all(|stream| streams.contains(stream))
    };
    let finished = || processes().iter().filter(is_finished);
    let closed = finished().map(OutputProcess::close);
    // Every process is told before the first one is waited for.
    let closed: io::Result<()> = closed.fold(Ok(()), io::Result::and);
    let ends = finished().map(|process| process.wait_for_end(deadline));
    ends.fold(closed, io::Result::and)
}

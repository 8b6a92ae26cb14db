//! The log: lines on standard error, which no thread waits for.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use tracing_subscriber::EnvFilter;

use crate::outbox::Outbox;

/// Pause before another attempt when standard error is non-blocking and full.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The log of the process, once it has been started.
static LOG: OnceLock<Outbox> = OnceLock::new();

/// Starts to log events that pass `filter` to standard error: with colours on a terminal, without the time under
/// systemd, which adds it. From then on panics are logged, too, instead of being printed by the panicking thread.
///
/// # Errors
///
/// The thread cannot be started, or standard error is closed.
pub(crate) fn start(filter: &str) -> io::Result<()> {
    // Not `io::stderr()`: a write that blocks would hold its lock.
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let write = move |line: &[u8]| write_line(&mut stderr, line);
    let outbox = Outbox::start("log", write, |lines| {
        tracing::warn!("log lines dropped, because standard error was not read: {lines}");
    })?;
    let outbox = LOG.get_or_init(|| outbox);

    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| Line(outbox))
        .with_ansi(wants_colours())
        .with_target(false)
        // Prints to standard error by itself.
        .log_internal_errors(false)
        .with_env_filter(EnvFilter::new(filter));
    if is_journal_behind_stderr() {
        subscriber.without_time().init();
    } else {
        subscriber.init();
    }
    log_panics(outbox);
    Ok(())
}

/// Logs a line that no filter hides, as it is; false if the log has not been started.
pub(crate) fn print(line: &dyn Display) -> bool {
    LOG.get()
        .map(|log| log.put(format!("{line}\n").as_bytes()))
        .is_some()
}

/// Waits until all lines have been written, at most until `deadline`; false if some are left.
pub(crate) fn flush(deadline: Instant) -> bool {
    LOG.get().is_none_or(|log| log.flush(deadline))
}

/// Number of log lines that were not written since the start of the process.
pub(crate) fn dropped_lines() -> u64 {
    LOG.get().map_or(0, Outbox::dropped)
}

/// Writes all of `line`, however long that takes.
fn write_line(stderr: &mut File, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match stderr.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the pipe has made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The default panic hook writes to standard error, and the panicking thread would block there before anyone
/// learns of its end.
fn log_panics(log: &'static Outbox) {
    panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let backtrace = Backtrace::capture();
        let text = match backtrace.status() {
            BacktraceStatus::Captured => format!("thread '{name}' {info}\n{backtrace}\n"),
            _ => format!("thread '{name}' {info}\n"),
        };
        log.put(text.as_bytes());
    }));
}

/// Whether standard error is a terminal that shows colours (<https://no-color.org>).
fn wants_colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stderr().is_terminal() && !refused
}

/// Whether systemd's journal reads standard error: the variable names the device and inode of its
/// socket (systemd.exec(5)), and is inherited by processes that write elsewhere.
fn is_journal_behind_stderr() -> bool {
    let Ok(journal) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    stderr
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| journal == format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// Takes one event, which `tracing-subscriber` writes at once.
struct Line(&'static Outbox);

impl io::Write for Line {
    /// Accepts everything: a line that is dropped has been counted.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

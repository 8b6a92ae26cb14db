//! The log: lines on standard error, written by a thread so that no other thread waits for the reader.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::Instant;
use std::{env, panic, thread};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use self::line::{Recorder, Style};
use crate::outbox::Outbox;
use crate::standard_streams::Stream;

mod line;

pub(crate) use line::{LineField, LogFormat, json_line};

/// Message about lines that were not written.
const LINES_DROPPED: &str = "log lines dropped";

/// The log of the process, once it has been started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    outbox: Outbox,
    style: Style,
}

impl Log {
    /// Queues whole lines. Lines without room are dropped and counted.
    fn put(&self, lines: &str) {
        let _dropped = self.outbox.put(lines.as_bytes());
    }
}

/// Starts to log events that pass `filter` to standard error. Text has no time under systemd, which adds it. From then
/// on panics are logged, too, instead of being printed by the panicking thread.
///
/// # Errors
///
/// The thread cannot be started.
pub(crate) fn start(filter: &str, format: LogFormat) -> io::Result<()> {
    let write = |line: &[u8]| Stream::Error.write_all(line);
    let outbox = Outbox::start("log", write, |lines| {
        tracing::warn!(lines, "{LINES_DROPPED}");
    })?;
    let style = Style {
        format,
        has_colours: wants_colours(io::stderr().is_terminal(), |name| env::var_os(name)),
        has_time: !is_journal_behind_stderr(),
    };
    let log = LOG.get_or_init(|| Log { outbox, style });
    tracing_subscriber::registry()
        .with(EnvFilter::new(filter))
        .with(EventLayer(log))
        .init();
    log_panics(log);
    Ok(())
}

/// Prints an error or warning regardless of the filter, after the lines already logged if the log has been started.
pub(crate) fn print(level: Level, text: &dyn Display) {
    match LOG.get() {
        Some(log) => log.put(&log.style.format.printed(level, text)),
        None => print_now(LogFormat::Text, level, text),
    }
}

/// Prints an error or warning, waiting for the reader of standard error.
pub(crate) fn print_now(format: LogFormat, level: Level, text: &dyn Display) {
    let line = format.printed(level, text);
    // A failure cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Waits until all lines have been written, at most until `deadline`. Returns false if some are left.
pub(crate) fn flush(deadline: Instant) -> bool {
    LOG.get().is_none_or(|log| log.outbox.flush(deadline))
}

/// Returns the line about lines that could not be written to a file.
pub(crate) fn dropped_line(format: LogFormat, lines: u64) -> String {
    let style = Style {
        format,
        has_colours: wants_colours(false, |name| env::var_os(name)),
        has_time: true,
    };
    style.line(Level::WARN, LINES_DROPPED, &[("lines", lines.into())])
}

/// Returns the number of log lines that were not written to standard error since the start of the process.
pub(crate) fn dropped_lines() -> u64 {
    LOG.get().map_or(0, |log| log.outbox.dropped())
}

/// Logs panics. The default hook writes to standard error, where the panicking thread could block before its failure is
/// reported.
fn log_panics(log: &'static Log) {
    panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        let reason = info.payload_as_str().unwrap_or("no message");
        let location = info.location().map(ToString::to_string);
        let mut fields: Vec<LineField> = vec![
            ("thread", thread.name().unwrap_or("unnamed").into()),
            ("location", location.into()),
            ("reason", reason.into()),
        ];
        let backtrace = Backtrace::capture();
        let mut lines = String::new();
        if backtrace.status() == BacktraceStatus::Captured {
            match log.style.format {
                LogFormat::Text => lines = format!("{backtrace}\n"),
                LogFormat::Json => fields.push(("backtrace", backtrace.to_string().into())),
            }
        }
        log.put(&(log.style.line(Level::ERROR, "thread panicked", &fields) + &lines));
    }));
}

/// Returns true if lines are coloured, by the rules that `clap` applies to the help: `NO_COLOR` forbids colours
/// (<https://no-color.org>), `CLICOLOR_FORCE` demands them (<https://bixense.com/clicolors>), and otherwise they need a
/// terminal that is not dumb.
fn wants_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        false
    } else if is_set("CLICOLOR_FORCE") {
        true
    } else {
        let is_disabled = variable("CLICOLOR").is_some_and(|value| value == "0");
        let is_capable = variable("TERM").is_some_and(|terminal| terminal != "dumb");
        is_terminal && !is_disabled && is_capable
    }
}

/// Returns true if systemd's journal reads standard error: the variable has the device and inode of its socket
/// (systemd.exec(5)), which are compared because processes that write elsewhere inherit the variable.
fn is_journal_behind_stderr() -> bool {
    let Ok(journal) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| journal == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Puts each event into the outbox as a line.
struct EventLayer(&'static Log);

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut recorder = Recorder::default();
        event.record(&mut recorder);
        let level = *event.metadata().level();
        let line = self
            .0
            .style
            .line(level, &recorder.message, &recorder.fields);
        self.0.put(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment() {
        let terminal = ("TERM", "xterm");
        for (is_terminal, variables, expected) in [
            (true, &[terminal][..], true),
            (false, &[terminal], false),
            (true, &[], false),
            (true, &[("TERM", "dumb")], false),
            (true, &[terminal, ("NO_COLOR", "1")], false),
            (true, &[terminal, ("NO_COLOR", "")], true),
            (true, &[terminal, ("CLICOLOR", "0")], false),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
            (false, &[("CLICOLOR_FORCE", ""), terminal], false),
            (false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| value.into())
            };
            let wanted = wants_colours(is_terminal, variable);
            assert_eq!(wanted, expected, "{is_terminal} {variables:?}");
        }
    }
}

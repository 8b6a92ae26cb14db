//! Progress of a command on standard output and the terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human::time;

/// How often the bar is redrawn without news.
const TICK: Duration = Duration::from_millis(100);

/// Period of lines about connecting tunnels, without a bar.
const CONNECTING_PERIOD: Duration = Duration::from_secs(5);

/// Lines on standard output, and below them a progress bar if standard error is a terminal.
pub(crate) struct Screen {
    bar: ProgressBar,
    /// When to print the number of connected tunnels again, without a bar.
    next_connecting: Instant,
}

impl Screen {
    /// Creates a screen. It has no bar with `--json` or `TERM=dumb`.
    pub(crate) fn new(json: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let bar = if json || is_dumb || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {msg}"));
            bar.enable_steady_tick(TICK);
            bar
        };
        Self {
            bar,
            next_connecting: Instant::now() + CONNECTING_PERIOD,
        }
    }

    pub(crate) fn has_bar(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows a message in the bar.
    pub(crate) fn message(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Moves the bar to `seconds` of `total`.
    pub(crate) fn advance(&self, seconds: f64, total: Duration) {
        if self.bar.length().is_none() {
            self.bar.set_length(total.as_millis() as u64);
            self.bar.set_style(style("{spinner} {bar:20} {msg}"));
        }
        self.bar.set_position((seconds * 1e3) as u64);
        self.message(format!("of {}", time(total.as_nanos() as u64)));
    }

    /// Shows the number of connected tunnels in the bar, or on a line every [`CONNECTING_PERIOD`].
    pub(crate) fn connecting(&mut self, connected: usize, tunnels: usize) -> io::Result<()> {
        let message = format!("connecting: {connected} of {tunnels} tunnels");
        if self.has_bar() {
            self.message(message);
        } else if Instant::now() >= self.next_connecting {
            self.next_connecting += CONNECTING_PERIOD;
            return self.print(&(message + "\n"));
        }
        Ok(())
    }

    /// Writes whole lines to standard output, above the bar.
    pub(crate) fn print(&self, lines: &str) -> io::Result<()> {
        self.bar
            .suspend(|| io::stdout().lock().write_all(lines.as_bytes()))
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Screen {
    /// Lets later output start on a clean line, also after an error.
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

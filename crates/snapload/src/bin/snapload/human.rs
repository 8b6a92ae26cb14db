//! Output for people.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use snapload::{
    ConnectReport, DirectionKind, Interval, LatencySummary, LoadConfig, Progress, Report,
};

use crate::output::Output;

/// How often the bar moves when nothing is reported.
const TICK: Duration = Duration::from_millis(100);

/// Without a terminal, how often is said how many tunnels are connected.
pub(crate) const CONNECTING_PERIOD: Duration = Duration::from_secs(5);

/// A line per interval on standard output, then the summary: for logs.
pub(crate) struct Lines {
    /// When to say again how many tunnels are connected.
    next_connecting: Instant,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self {
            next_connecting: Instant::now() + CONNECTING_PERIOD,
        }
    }
}

impl Output for Lines {
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match progress {
            Progress::Connecting { connected, tunnels }
                if Instant::now() >= self.next_connecting =>
            {
                self.next_connecting += CONNECTING_PERIOD;
                writeln!(stdout, "connecting: {connected} of {tunnels} tunnels")
            }
            Progress::Connected(connect) => writeln!(stdout, "{}", connected(connect)),
            Progress::Interval(interval) => {
                writeln!(stdout, "{}", line(interval))
            }
            _ => Ok(()),
        }
    }

    fn report(&mut self, report: &Report, _failed_checks: &[String]) -> io::Result<()> {
        io::stdout().lock().write_all(summary(report).as_bytes())
    }
}

/// A line per interval and below them a bar, on the terminal, then the summary.
pub(crate) struct Bar {
    bar: ProgressBar,
    sending: Duration,
}

impl Bar {
    pub(crate) fn new(config: &LoadConfig) -> Self {
        Self {
            bar: spinner(),
            sending: config.duration,
        }
    }
}

impl Drop for Bar {
    /// What is written next begins on a clean line, also after an error.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Output for Bar {
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        match progress {
            Progress::Connecting { connected, tunnels } => {
                self.bar
                    .set_message(format!("connecting: {connected} of {tunnels} tunnels"));
            }
            Progress::Connected(connect) => {
                let line = connected(connect);
                return self.bar.suspend(|| writeln!(io::stdout().lock(), "{line}"));
            }
            Progress::Encrypting => self.bar.set_message("encrypting packets"),
            Progress::WarmUp => self.bar.set_message("warming up"),
            Progress::Interval(interval) => {
                if self.bar.length().is_none() {
                    self.bar.set_length(self.sending.as_millis() as u64);
                    self.bar.set_style(style("{spinner} {bar:20} {msg}"));
                }
                self.bar.set_position((interval.end_seconds * 1e3) as u64);
                self.bar
                    .set_message(format!("of {}", time(self.sending.as_nanos() as u64)));
                return self
                    .bar
                    .suspend(|| writeln!(io::stdout().lock(), "{}", line(interval)));
            }
            Progress::Draining { outstanding } => {
                self.bar
                    .set_message(format!("waiting for {outstanding} packets"));
            }
            _ => {}
        }
        Ok(())
    }

    fn report(&mut self, report: &Report, _failed_checks: &[String]) -> io::Result<()> {
        self.bar.finish_and_clear();
        io::stdout().lock().write_all(summary(report).as_bytes())
    }
}

/// A spinner with a message, on standard error.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{spinner} {msg}"));
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

pub(crate) fn connected(connect: &ConnectReport) -> String {
    let ConnectReport {
        tunnels,
        seconds,
        retries,
        cookies,
    } = connect;
    format!(
        "connected {} in {} ({retries} retries, {cookies} cookies)",
        plural(*tunnels, "tunnel"),
        time((seconds * 1e9) as u64),
    )
}

fn line(interval: &Interval) -> String {
    format!("{:7.1} s  {}", interval.end_seconds, rates(interval))
}

fn rates(interval: &Interval) -> String {
    let rates = format!(
        "sent {:>10}  received {:>10}",
        scaled(interval.sent_pps, "pps"),
        scaled(interval.received_pps, "pps"),
    );
    let latency = &interval.latency;
    if latency.count == 0 {
        return rates;
    }
    format!(
        "{rates}  p50 {:>9}  p99 {:>9}  max {:>9}",
        time(latency.p50_ns),
        time(latency.p99_ns),
        time(latency.max_ns),
    )
}

fn summary(report: &Report) -> String {
    let counts = &report.counts;
    let mut rows = vec![
        row("sent", counts.sent, &scaled(report.sent_pps, "pps")),
        row(
            "received",
            counts.received,
            &format!(
                "{}  {}",
                scaled(report.received_pps, "pps"),
                scaled(report.received_bits_per_second, "bit/s")
            ),
        ),
        row(
            "lost",
            report.lost,
            &format!("{:.4} %", report.loss_share * 100.0),
        ),
    ];
    let rare = [
        ("reordered", counts.reordered),
        ("duplicated", counts.duplicated),
        ("late", counts.late),
        ("corrupted", counts.corrupted),
        ("misdelivered", counts.misdelivered),
        ("SCMP errors", counts.scmp),
        ("refused", counts.refused),
        ("send errors", counts.send_errors),
        ("own drops", counts.receive_drops),
    ];
    rows.extend(
        rare.iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, n)| row(name, *n, "")),
    );
    rows.push(format!(
        "{:<12} {}\n",
        if report.direction == DirectionKind::Echo {
            "round trip"
        } else {
            "latency"
        },
        latencies(&report.latency)
    ));
    let busiest = report
        .threads
        .iter()
        .map(|thread| thread.busy_share)
        .fold(0.0, f64::max);
    rows.push(format!(
        "{:<12} {}, {:.1} s CPU, busiest {:.0} %\n",
        "generator",
        plural(report.threads.len(), "thread"),
        report.generator_cpu_seconds,
        busiest * 100.0,
    ));
    rows.extend(remarks(report).map(|remark| format!("{remark}\n")));
    rows.concat()
}

/// What the numbers mean, where that is not obvious.
fn remarks(report: &Report) -> impl Iterator<Item = &'static str> {
    let counts = &report.counts;
    [
        (
            counts.scmp > 0,
            match report.direction {
                DirectionKind::Up => {
                    "The gateway answered with SCMP errors: is --isd-as its own AS, and has it a \
                     next hop for --interface?"
                }
                DirectionKind::Down | DirectionKind::Echo => {
                    "The gateway answered with SCMP errors: is --isd-as its own AS?"
                }
            },
        ),
        (
            counts.sent > 0 && counts.received == 0 && counts.scmp == 0,
            match report.direction {
                DirectionKind::Up => {
                    "Nothing arrived: does the gateway forward SCION of --isd-as, with --router as \
                     its next hop for --interface?"
                }
                DirectionKind::Down => {
                    "Nothing arrived: does the gateway forward SCION, is --internal its internal \
                     address, and does it take packets from here (a next hop with the IP address \
                     of --router, or --internal-from)?"
                }
                DirectionKind::Echo => {
                    "Nothing came back: does the gateway echo, or forward SCION of --isd-as?"
                }
            },
        ),
        (
            report.used_up,
            "It ended when all packets encrypted beforehand were sent (--pre-encrypt-memory).",
        ),
        (
            report.limited_by_generator,
            "The generator was the limit here: the gateway may do better than this.",
        ),
    ]
    .into_iter()
    .filter_map(|(applies, remark)| applies.then_some(remark))
}

fn row(name: &str, count: u64, note: &str) -> String {
    format!("{:<12} {:>14}  {note}", name, grouped(count))
        .trim_end()
        .to_owned()
        + "\n"
}

fn latencies(latency: &LatencySummary) -> String {
    if latency.count == 0 {
        return "nothing arrived".to_owned();
    }
    [
        ("p50", latency.p50_ns),
        ("p90", latency.p90_ns),
        ("p99", latency.p99_ns),
        ("p99.9", latency.p99_9_ns),
        ("max", latency.max_ns),
    ]
    .map(|(name, ns)| format!("{name} {}", time(ns)))
    .join("  ")
}

/// A count with its digits in groups of three.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A number with an SI prefix, three or four digits and its unit.
pub(crate) fn scaled(number: f64, unit: &str) -> String {
    match number {
        n if n >= 1e9 => format!("{:.2} G{unit}", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M{unit}", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k{unit}", n / 1e3),
        n => format!("{n:.0} {unit}"),
    }
}

/// A time with a fitting unit.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(scaled(999.6, "pps"), "1000 pps");
        assert_eq!(scaled(345_678.0, "pps"), "345.7 kpps");
        assert_eq!(scaled(3_361_000_000.0, "bit/s"), "3.36 Gbit/s");
        assert_eq!(plural(1, "tunnel"), "1 tunnel");
        assert_eq!(plural(2, "tunnel"), "2 tunnels");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(123_456), "123.5 µs");
        assert_eq!(time(12_345_678), "12.35 ms");
        assert_eq!(time(60_000_000_000), "60.00 s");
    }
}

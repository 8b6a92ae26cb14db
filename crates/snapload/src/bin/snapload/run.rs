//! `snapload run`: from arguments to a result and an exit code.

use std::io;
use std::time::Duration;

use serde::Serialize;
use snapload::{
    Checks, DEFAULT_WINDOW, Interval, LoadConfig, Progress, Rate, Report, share_of_percent,
};

use crate::cli::RunArguments;
use crate::failure::Failure;
use crate::human::{connected, measured, scaled, summary};
use crate::json;
use crate::screen::Screen;
use crate::signals::set_on_interrupt;
use crate::values::RateArgument;
use crate::written::Written;

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Interval(&'a Interval),
    Summary {
        #[serde(flatten)]
        report: &'a Report,
        failed_checks: &'a [String],
    },
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let config = config(arguments)?;
    set_on_interrupt(&config.stop)?;
    let checks = Checks {
        max_loss_share: arguments.max_loss.map(share_of_percent),
        max_p99: arguments.max_p99,
    };
    let mut output = Output {
        json: arguments.json,
        screen: Screen::new(arguments.json),
        duration: config.duration,
    };
    let mut written = Written::new(&config.stop);
    let result = snapload::run(&config, &mut |progress| {
        written.note(|| output.progress(&progress));
    });
    written.finish()?;
    let report = result?;
    let failed_checks = report.failed_checks(&checks);
    output
        .report(&report, &failed_checks)
        .map_err(Failure::Output)?;
    if report.interrupted {
        return Err(Failure::Interrupted);
    }
    match report.offered_pps {
        _ if !failed_checks.is_empty() => Err(Failure::Checks(failed_checks)),
        Some(offered_pps) if !report.offered_rate_reached => Err(Failure::RateNotReached {
            sent_pps: report.sent_pps,
            offered_pps,
            send_errors: report.counts.send_errors,
        }),
        _ => Ok(()),
    }
}

fn config(arguments: &RunArguments) -> Result<LoadConfig, Failure> {
    let mut config = arguments.load.config()?;
    config.rate = match arguments.rate {
        RateArgument::PerSecond(_) if arguments.window.is_some() => {
            return Err(Failure::Usage(
                "--window has no effect with a rate; remove it, or use --rate max".to_owned(),
            ));
        }
        RateArgument::PerSecond(pps) => Rate::PerSecond(pps),
        RateArgument::Max => Rate::Max {
            window: arguments.window.unwrap_or(DEFAULT_WINDOW),
        },
    };
    config.duration = arguments.duration;
    config.warm_up = arguments.warm_up;
    config.interval = arguments.interval;
    Ok(config)
}

/// Shows the progress and the result of a run.
struct Output {
    json: bool,
    screen: Screen,
    duration: Duration,
}

impl Output {
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        let message = match progress {
            Progress::Interval(interval) if self.json => {
                return json::print(&Line::Interval(interval));
            }
            _ if self.json => return Ok(()),
            Progress::Connecting { connected, tunnels } => {
                return self.screen.connecting(*connected, *tunnels);
            }
            Progress::Connected(connect) => {
                let header = "   time        sent    received        p50        p99        max";
                return self
                    .screen
                    .print(&format!("{}\n{header}\n", connected(connect)));
            }
            Progress::Encrypting => "encrypting packets".to_owned(),
            Progress::WarmUp => "warming up".to_owned(),
            Progress::Interval(interval) => {
                self.screen.advance(interval.end_seconds, self.duration);
                return self.screen.print(&line(interval));
            }
            Progress::Draining { outstanding } => format!("waiting for {outstanding} packets"),
            _ => return Ok(()),
        };
        self.screen.message(message);
        Ok(())
    }

    fn report(&self, report: &Report, failed_checks: &[String]) -> io::Result<()> {
        if self.json {
            return json::print(&Line::Summary {
                report,
                failed_checks,
            });
        }
        self.screen.finish();
        self.screen.print(&summary(report))
    }
}

fn line(interval: &Interval) -> String {
    let latency = &interval.latency;
    let times = [latency.p50_ns, latency.p99_ns, latency.max_ns];
    let times = times.map(|ns| measured(latency.count, ns));
    format!(
        "{:5.1} s  {:>10}  {:>10}  {:>9}  {:>9}  {:>9}\n",
        interval.end_seconds,
        scaled(interval.sent_pps, "pps"),
        scaled(interval.received_pps, "pps"),
        times[0],
        times[1],
        times[2],
    )
}

//! `snapload search`: from arguments to rates and an exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use snapload::{
    FoundRate, LoadError, Progress, SearchConfig, SearchProgress, SearchReport, TrialResult,
    percent_of_share, share_of_percent,
};

use crate::cli::SearchArguments;
use crate::failure::Failure;
use crate::human::{CONNECTING_PERIOD, connected, plural, scaled, spinner, time};
use crate::json;
use crate::signals::set_on_interrupt;
use crate::written::Written;

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Trial(&'a TrialResult),
    Found(&'a FoundRate),
    SearchSummary(&'a SearchReport),
}

pub(crate) fn search(arguments: &SearchArguments) -> Result<(), Failure> {
    let config = arguments.load.config()?;
    set_on_interrupt(&config.stop).map_err(Failure::Signals)?;
    let search = SearchConfig {
        loss_targets: arguments
            .loss
            .iter()
            .copied()
            .map(share_of_percent)
            .collect(),
        min_pps: arguments.min_rate,
        max_pps: arguments.max_rate,
        trial: arguments.trial,
        warm_up: arguments.warm_up,
        precision: share_of_percent(arguments.precision),
    };
    let mut output = Output::new(arguments.json);
    let mut written = Written::new(&config.stop);
    let result = snapload::search(&config, &search, &mut |progress| {
        written.note(|| output.progress(&progress));
    });
    written.finish()?;
    let report = match result {
        // Rates found before the interruption are a result.
        Err(LoadError::Interrupted) if !output.found.is_empty() => {
            output.found().map_err(Failure::Output)?;
            return Err(Failure::Interrupted);
        }
        result => result?,
    };
    output.report(&report).map_err(Failure::Output)?;
    if report.found.iter().any(|found| found.pps.is_none()) {
        Err(Failure::NoRateHolds {
            min_pps: search.min_pps,
        })
    } else if report.found.iter().any(|found| found.is_lower_bound) {
        Err(Failure::LowerBound)
    } else {
        Ok(())
    }
}

/// Shows how a search goes and what it finds: a line per trial, and what is under way in a bar.
struct Output {
    json: bool,
    bar: ProgressBar,
    header_is_written: bool,
    found: Vec<FoundRate>,
    next_connecting: Instant,
}

impl Output {
    fn new(json: bool) -> Self {
        let bar = if !json && io::stderr().is_terminal() {
            spinner()
        } else {
            ProgressBar::hidden()
        };
        Self {
            json,
            bar,
            header_is_written: false,
            found: Vec::new(),
            next_connecting: Instant::now() + CONNECTING_PERIOD,
        }
    }

    fn progress(&mut self, progress: &SearchProgress) -> io::Result<()> {
        match progress {
            SearchProgress::Load(Progress::Connecting { connected, tunnels }) => {
                let message = format!("connecting: {connected} of {tunnels} tunnels");
                if self.bar.is_hidden() && !self.json && Instant::now() >= self.next_connecting {
                    self.next_connecting += CONNECTING_PERIOD;
                    return self.write(&message);
                }
                self.bar.set_message(message);
                Ok(())
            }
            SearchProgress::Load(Progress::Connected(connect)) if !self.json => {
                self.write(&connected(connect))
            }
            SearchProgress::TrialStarts(plan) => {
                self.bar.set_message(format!(
                    "trial {}: {} for {}",
                    plan.number,
                    scaled(plan.offered_pps, "pps"),
                    time(Duration::from_secs_f64(plan.seconds).as_nanos() as u64),
                ));
                Ok(())
            }
            SearchProgress::TrialEnded(trial) => self.trial(trial),
            SearchProgress::Found(found) => {
                self.found.push(*found);
                if self.json {
                    json::print(&Line::Found(found))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn trial(&mut self, trial: &TrialResult) -> io::Result<()> {
        if self.json {
            return json::print(&Line::Trial(trial));
        }
        if !std::mem::replace(&mut self.header_is_written, true) {
            self.write(
                "trial     target     offered     time          lost        loss        p99",
            )?;
        }
        let verdict = if trial.holds {
            "holds"
        } else if trial.limited_by_generator {
            "generator too slow"
        } else {
            "fails"
        };
        self.write(&format!(
            "{:>5}  {:>7} %  {:>10}  {:>6.1}s  {:>12}  {:>8.4} %  {:>9}  {verdict}",
            trial.plan.number,
            percent_of_share(trial.plan.loss_target),
            scaled(trial.plan.offered_pps, "pps"),
            trial.plan.seconds,
            trial.lost,
            trial.loss_share * 100.0,
            if trial.lost < trial.sent {
                time(trial.p99_ns)
            } else {
                "-".to_owned()
            },
        ))
    }

    fn report(&mut self, report: &SearchReport) -> io::Result<()> {
        if self.json {
            return json::print(&Line::SearchSummary(report));
        }
        self.found()?;
        self.write(&format!(
            "{} of {} bytes in {:.0} s",
            plural(report.trials as usize, "trial"),
            report.size_bytes,
            report.seconds,
        ))
    }

    /// The rates, for people: programs were told when they were found.
    fn found(&self) -> io::Result<()> {
        self.bar.finish_and_clear();
        if self.json {
            return Ok(());
        }
        self.found
            .iter()
            .try_for_each(|found| self.write(&result(found)))
    }

    fn write(&self, line: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(io::stdout().lock(), "{line}"))
    }
}

impl Drop for Output {
    /// What is written next begins on a clean line, also after an error.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn result(found: &FoundRate) -> String {
    let target = format!("loss of at most {} %", percent_of_share(found.loss_target));
    let Some(pps) = found.pps else {
        return format!("{target}: not even the lowest rate holds");
    };
    let above = match found.above_pps {
        Some(above) => format!("{} does not hold", scaled(above, "pps")),
        None => "the highest that was tried".to_owned(),
    };
    let bound = if found.is_lower_bound {
        "; a lower bound, the gateway may do better"
    } else {
        ""
    };
    format!(
        "{target}: {}, {} ({above}{bound})",
        scaled(pps, "pps"),
        scaled(found.bits_per_second, "bit/s"),
    )
}

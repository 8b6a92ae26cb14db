//! `snapload search`: from arguments to rates and an exit code.

use std::io;
use std::time::Duration;

use serde::Serialize;
use snapload::{
    FoundRate, LoadError, Progress, SearchConfig, SearchProgress, SearchReport, TrialResult,
    percent_of_share, share_of_percent,
};

use crate::cli::SearchArguments;
use crate::failure::Failure;
use crate::human::{connected, percent, plural, scaled, time};
use crate::json;
use crate::screen::Screen;
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
    set_on_interrupt(&config.stop)?;
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

/// Shows the progress and the result of a search: a line per trial, and the current trial in a bar.
struct Output {
    json: bool,
    screen: Screen,
    header_is_written: bool,
    found: Vec<FoundRate>,
}

impl Output {
    fn new(json: bool) -> Self {
        Self {
            json,
            screen: Screen::new(json),
            header_is_written: false,
            found: Vec::new(),
        }
    }

    fn progress(&mut self, progress: &SearchProgress) -> io::Result<()> {
        match progress {
            SearchProgress::TrialEnded(trial) if self.json => json::print(&Line::Trial(trial)),
            SearchProgress::TrialEnded(trial) => self.trial(trial),
            SearchProgress::Found(found) => {
                self.found.push(*found);
                match self.json {
                    true => json::print(&Line::Found(found)),
                    false => Ok(()),
                }
            }
            _ if self.json => Ok(()),
            SearchProgress::Load(Progress::Connecting { connected, tunnels }) => {
                self.screen.connecting(*connected, *tunnels)
            }
            SearchProgress::Load(Progress::Connected(connect)) => {
                self.screen.print(&(connected(connect) + "\n"))
            }
            SearchProgress::TrialStarts(plan) => {
                self.screen.message(format!(
                    "trial {}: {} for {}",
                    plan.number,
                    scaled(plan.offered_pps, "pps"),
                    time(Duration::from_secs_f64(plan.seconds).as_nanos() as u64),
                ));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn trial(&mut self, trial: &TrialResult) -> io::Result<()> {
        if !std::mem::replace(&mut self.header_is_written, true) {
            self.screen
                .print("trial  target     offered   time     lost        loss        p99\n")?;
        }
        let verdict = if trial.holds {
            "holds"
        } else if trial.limited_by_generator {
            "generator slow"
        } else {
            "fails"
        };
        self.screen.print(&format!(
            "{:>5}  {:>4} %  {:>10}  {:>4.1}s  {:>7}  {:>10}  {:>9}  {verdict}\n",
            trial.plan.number,
            percent_of_share(trial.plan.loss_target),
            scaled(trial.plan.offered_pps, "pps"),
            trial.plan.seconds,
            trial.lost,
            percent(trial.loss_share),
            if trial.lost < trial.sent {
                time(trial.p99_ns)
            } else {
                "-".to_owned()
            },
        ))
    }

    fn report(&self, report: &SearchReport) -> io::Result<()> {
        if self.json {
            return json::print(&Line::SearchSummary(report));
        }
        self.found()?;
        self.screen.print(&format!(
            "{} of {} bytes in {:.0} s\n",
            plural(report.trials as usize, "trial"),
            report.size_bytes,
            report.seconds,
        ))
    }

    /// Prints the rates found. With `--json` they have been printed already.
    fn found(&self) -> io::Result<()> {
        self.screen.finish();
        match self.json {
            true => Ok(()),
            false => self
                .screen
                .print(&self.found.iter().map(result).collect::<String>()),
        }
    }
}

fn result(found: &FoundRate) -> String {
    let target = percent_of_share(found.loss_target);
    let Some(pps) = found.pps else {
        return format!("at most {target} % loss: the lowest rate does not hold\n");
    };
    let above = match found.above_pps {
        Some(above) => format!("{} fails", scaled(above, "pps")),
        None => "the highest rate tried".to_owned(),
    };
    let bound = match found.is_lower_bound {
        true => "; lower bound",
        false => "",
    };
    format!(
        "at most {target} % loss: {}, {} ({above}{bound})\n",
        scaled(pps, "pps"),
        scaled(found.bits_per_second, "bit/s"),
    )
}

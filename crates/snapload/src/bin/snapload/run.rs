//! `snapload run`: from arguments to a result and an exit code.

use std::io::{self, IsTerminal as _};

use snapload::{Checks, DEFAULT_WINDOW, LoadConfig, Rate, share_of_percent};

use crate::cli::RunArguments;
use crate::failure::Failure;
use crate::human::{Bar, Lines};
use crate::json::Json;
use crate::output::Output;
use crate::signals::set_on_interrupt;
use crate::values::RateArgument;
use crate::written::Written;

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let config = config(arguments)?;
    set_on_interrupt(&config.stop).map_err(Failure::Signals)?;
    let checks = Checks {
        max_loss_share: arguments.max_loss.map(share_of_percent),
        max_p99: arguments.max_p99,
    };
    let mut output: Box<dyn Output> = if arguments.json {
        Box::new(Json)
    } else if io::stderr().is_terminal() {
        Box::new(Bar::new(&config))
    } else {
        Box::new(Lines::new())
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

//! Why the command ends without success, and the exit codes.

use std::io::{self, Write as _};

use snapload::scenario::ScenarioError;

use crate::demo::error::DemoError;

/// The run gave no result.
const EXIT_FAILED: u8 = 1;
/// The command line makes no sense. Also what clap exits with.
const EXIT_USAGE: u8 = 2;
/// There is a result and it fails a check; or a search found no rate.
const EXIT_CHECK_FAILED: u8 = 3;
/// There is a result, for a lower rate than was asked for, or than a gateway may reach.
const EXIT_RATE_NOT_REACHED: u8 = 4;
/// Ctrl-C (SIGINT) or SIGTERM ended it before its time, as shells say it: 128 and the signal's number.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Why the command ends without success.
pub(crate) enum Failure {
    /// What was asked for makes no sense.
    Usage(String),
    /// The run gave no result.
    Run(snapload::LoadError),
    /// The scenario gave no result.
    Scenario(ScenarioError),
    /// The demo gave no result.
    Demo(DemoError),
    /// The figure cannot be written.
    #[cfg(feature = "plot")]
    Plot(snapload::PlotError),
    /// Standard output is closed.
    Output(io::Error),
    /// The result fails these checks.
    Checks(Vec<String>),
    /// The scenario failed, as its output says.
    Verdict,
    /// The generator could not send as fast as asked.
    RateNotReached {
        sent_pps: f64,
        offered_pps: f64,
        /// Packets that the operating system refused.
        send_errors: u64,
    },
    /// Signals cannot be handled.
    Signals(io::Error),
    /// It was told to stop before its time.
    Interrupted,
    /// A search found that not even its lowest rate holds.
    NoRateHolds { min_pps: f64 },
    /// A rate that was found may not be the gateway's highest.
    LowerBound,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Run(snapload::LoadError::Interrupted) | Self::Interrupted => EXIT_INTERRUPTED,
            Self::Run(_)
            | Self::Scenario(_)
            | Self::Demo(_)
            | Self::Output(_)
            | Self::Signals(_) => EXIT_FAILED,
            #[cfg(feature = "plot")]
            Self::Plot(_) => EXIT_FAILED,
            Self::Usage(_) => EXIT_USAGE,
            Self::Checks(_) | Self::Verdict | Self::NoRateHolds { .. } => EXIT_CHECK_FAILED,
            Self::RateNotReached { .. } | Self::LowerBound => EXIT_RATE_NOT_REACHED,
        }
    }

    /// Prints it to standard error.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        match self {
            Self::Usage(problem) => writeln!(stderr, "error: {problem}"),
            Self::Run(error) => writeln!(stderr, "error: {error}"),
            Self::Scenario(error) => writeln!(stderr, "error: {error}"),
            Self::Demo(error) => writeln!(stderr, "error: {error}"),
            #[cfg(feature = "plot")]
            Self::Plot(error) => writeln!(stderr, "error: {error}"),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::Output(error) => writeln!(stderr, "error: cannot write the output: {error}"),
            Self::Verdict => Ok(()),
            Self::Checks(checks) => checks
                .iter()
                .try_for_each(|check| writeln!(stderr, "check failed: {check}")),
            Self::RateNotReached {
                sent_pps,
                offered_pps,
                send_errors,
            } => writeln!(
                stderr,
                "offered rate not reached: {sent_pps:.0} of {offered_pps:.0} packets a second were \
                 sent; {}",
                what_to_do(*send_errors)
            ),
            Self::Signals(error) => writeln!(stderr, "error: cannot handle signals: {error}"),
            Self::Interrupted => {
                writeln!(stderr, "interrupted: this is what was measured until then")
            }
            Self::NoRateHolds { min_pps } => writeln!(
                stderr,
                "not even {min_pps:.0} packets a second hold; does the gateway pass packets on in \
                 this direction? Try `snapload run`, or a lower --min-rate",
            ),
            Self::LowerBound => writeln!(
                stderr,
                "a rate is a lower bound: the generator was too slow, or --max-rate too low; use \
                 more threads or CPUs, longer trains (--train), or a higher --max-rate",
            ),
        }
    }
}

/// What to do about an offered rate that was not reached.
fn what_to_do(send_errors: u64) -> String {
    match send_errors {
        0 => "use more threads or CPUs, longer trains (--train), or a lower rate".to_owned(),
        refused => format!(
            "the operating system refused {refused} packets: does the way take datagrams of --size \
             and 60 bytes more (over IPv6 80)?"
        ),
    }
}

impl From<snapload::LoadError> for Failure {
    fn from(error: snapload::LoadError) -> Self {
        match error {
            snapload::LoadError::Config(error) => Self::Usage(error.to_string()),
            error => Self::Run(error),
        }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        match error {
            ScenarioError::TooFewIdentities { .. } | ScenarioError::Config { .. } => {
                Self::Usage(error.to_string())
            }
            ScenarioError::Population { ref source, .. }
                if matches!(**source, snapload::LoadError::Config(_)) =>
            {
                Self::Usage(error.to_string())
            }
            error => Self::Scenario(error),
        }
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        Self::Demo(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_the_system_refuses_are_not_blamed_on_the_generator() {
        assert!(what_to_do(0).contains("lower rate"));
        assert!(what_to_do(7).starts_with("the operating system refused 7 packets"));
    }
}

//! Reasons why the command fails, and its exit codes.

use std::io::{self, Write as _};

use snapload::scenario::ScenarioError;
use snapload::{FileError, LoadError};

/// No result.
const EXIT_FAILED: u8 = 1;
/// Invalid arguments. Also clap's exit code.
const EXIT_USAGE: u8 = 2;
/// The result fails a check, or a search found no rate.
const EXIT_CHECK_FAILED: u8 = 3;
/// The result is for a lower rate than requested, or than the gateway may reach.
const EXIT_RATE_NOT_REACHED: u8 = 4;
/// Interrupted by SIGINT or SIGTERM: 128 plus the number of SIGINT, as in shells.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Reason why the command fails.
pub(crate) enum Failure {
    /// The arguments or input files are invalid.
    Usage(String),
    /// The command has no result.
    Failed(String),
    /// Standard output cannot be written.
    Output(io::Error),
    /// The result fails these checks.
    Checks(Vec<String>),
    /// The scenario failed; its output has the reason.
    Verdict,
    /// The generator did not reach the offered rate.
    RateNotReached {
        sent_pps: f64,
        offered_pps: f64,
        /// Packets that the kernel refused to send.
        send_errors: u64,
    },
    /// Stopped early by a signal.
    Interrupted,
    /// Stopped by a signal before there was a result.
    InterruptedEarly,
    /// The lowest rate of a search does not hold.
    NoRateHolds { min_pps: f64 },
    /// A rate found is a lower bound of the gateway's limit.
    LowerBound,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => EXIT_FAILED,
            Self::Usage(_) => EXIT_USAGE,
            Self::Checks(_) | Self::Verdict | Self::NoRateHolds { .. } => EXIT_CHECK_FAILED,
            Self::RateNotReached { .. } | Self::LowerBound => EXIT_RATE_NOT_REACHED,
            Self::Interrupted | Self::InterruptedEarly => EXIT_INTERRUPTED,
        }
    }

    /// Prints the failure to standard error.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        match self {
            Self::Usage(problem) | Self::Failed(problem) => writeln!(stderr, "error: {problem}"),
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
                "offered rate not reached: sent {sent_pps:.0} of {offered_pps:.0} packets/s; {}",
                remedy(*send_errors)
            ),
            Self::Interrupted => {
                writeln!(stderr, "interrupted: the result covers the time until then")
            }
            Self::InterruptedEarly => writeln!(stderr, "interrupted before the first result"),
            Self::NoRateHolds { min_pps } => writeln!(
                stderr,
                "the lowest rate, {min_pps:.0} packets/s, does not hold; check with `snapload run` \
                 that the gateway passes packets in this direction, or use a lower --min-rate",
            ),
            Self::LowerBound => writeln!(
                stderr,
                "a rate is a lower bound: the generator was too slow, or --max-rate holds; use \
                 more threads or CPUs, longer trains (--train), or a higher --max-rate",
            ),
        }
    }
}

/// Returns a remedy for an offered rate that was not reached.
fn remedy(send_errors: u64) -> String {
    match send_errors {
        0 => "use more threads or CPUs, longer trains (--train), or a lower rate".to_owned(),
        refused => format!(
            "the kernel refused {refused} packets; check that the path takes datagrams of --size plus 60 bytes (over \
             IPv6 80)"
        ),
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Interrupted => Self::InterruptedEarly,
            LoadError::Config(error) => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        let is_usage = match &error {
            ScenarioError::TooFewIdentities { .. } | ScenarioError::Config { .. } => true,
            ScenarioError::Population { source, .. } => matches!(**source, LoadError::Config(_)),
            _ => false,
        };
        match is_usage {
            true => Self::Usage(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_mentions_packets_refused_by_the_kernel() {
        assert!(remedy(0).contains("lower rate"));
        assert!(remedy(7).starts_with("the kernel refused 7 packets"));
    }
}

//! The command line.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use clap::Parser;

use super::attack::Attack;
use super::case::{self, Target};
use super::result::{Judged, judge};
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::options::Options;
use crate::harness::report::Report;
use crate::harness::run::Run;
use crate::harness::{Benchmark, Programs};

/// Measures what clients notice of attacks on their gateway, and checks it against the bounds of
/// docs/SECURITY.md. Attacks with the addresses of clients need root.
///
/// Exit codes: 0 every bound holds, 1 something could not be measured, 2 wrong usage, 3 a bound does not
/// hold.
#[derive(Parser, Debug)]
#[command(name = "attacks", bin_name = "scripts/bench.sh attacks")]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options<Attack>,
    /// How many seconds every attack takes; 2 with --quick
    #[arg(long, value_name = "SECONDS", default_value_t = 20, conflicts_with = "quick",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,
}

impl Benchmark for Arguments {
    const NAME: &'static str = "attacks";
    type Entry = Attack;
    type Finding = Judged;

    fn options(&self) -> &Options<Attack> {
        &self.options
    }

    /// Errors: [`BenchError::NeedsRoot`].
    fn check(&self) -> Result<(), BenchError> {
        match self.options.chosen().find(|attack| attack.needs_root()) {
            Some(attack) if !rustix::process::geteuid().is_root() => Err(BenchError::NeedsRoot {
                attack: attack.name(),
            }),
            _ => Ok(()),
        }
    }

    fn run(&self, programs: Programs) -> Result<Run, BenchError> {
        Run::new(programs, &self.options, 1)
    }

    fn measure(&self, run: &Run, report: &mut Report<Judged>) -> Result<(), BenchError> {
        let seconds = if run.quick { 2 } else { self.duration };
        let duration = Duration::from_secs(seconds);
        let measure = |attack, target| case::measure(run, duration, attack, target);
        let peace = measure(None, Target::Gateway)?;
        report.add(judge(&peace, &peace))?;
        for attack in self.options.chosen() {
            // Only of this one latencies have a bound.
            let baseline = if attack == Attack::Strangers {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
                let socket = socket.map_err(BenchError::NoPort)?;
                let address = socket.local_addr().map_err(BenchError::NoPort)?;
                let decoy = measure(Some(attack), Target::Decoy(address))?;
                report.add(judge(&decoy, &peace))?;
                decoy
            } else {
                peace.clone()
            };
            let outcome = measure(Some(attack), Target::Gateway)?;
            report.add(judge(&outcome, &baseline))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let quick =
            Arguments::try_parse_from(["attacks", "--quick", "--only", "mac1-20k"]).unwrap();
        assert!(quick.options.chosen().eq([Attack::Mac1At20k]));
        assert!(Arguments::try_parse_from(["attacks", "--quick", "--duration", "3"]).is_err());
    }
}

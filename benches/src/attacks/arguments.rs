//! Command line of the benchmark `attacks`.

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

const AFTER_HELP: &str = "\
Requirements:
  mac1-*, exhausted, forged-data  root, for raw sockets
  train-*                         root, for network namespaces, and the Debian
                                  packages iproute2 and ethtool

Exit codes:
  0  every bound holds
  1  a measurement failed
  2  wrong usage, or a requirement is not met
  3  a bound does not hold

Examples:
  scripts/bench.sh attacks --list
  scripts/bench.sh attacks --only mac1-100 --only exhausted
  scripts/bench.sh attacks --markdown attacks.md";

/// Measure the effects of attacks on the clients of a gateway
///
/// Compares losses, memory and the times of handshakes with the bounds of docs/SECURITY.md. Builds the gateway, unless
/// --snapgate names an executable. All attacks together take about ten minutes.
#[derive(Parser, Debug)]
#[command(
    name = "attacks",
    bin_name = "scripts/bench.sh attacks",
    max_term_width = 80,
    after_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options<Attack>,
    /// Duration of each attack in seconds; 2 with --quick
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

    /// Errors: [`BenchError::NeedsNamespaces`] and [`BenchError::NeedsRoot`].
    fn check(&self) -> Result<(), BenchError> {
        if let Some(attack) = self
            .options
            .chosen()
            .find(|attack| attack.is_in_namespaces())
        {
            let missing = testkit::missing_requirements();
            if !missing.is_empty() {
                let attack = attack.name();
                return Err(BenchError::NeedsNamespaces { attack, missing });
            }
        }
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
        let no_attack = measure(None, Target::Gateway)?;
        report.add(judge(&no_attack, &no_attack))?;
        for attack in self.options.chosen() {
            // The only attack with a bound on latency.
            let baseline = if attack == Attack::Strangers {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
                let socket = socket.map_err(BenchError::NoPort)?;
                let address = socket.local_addr().map_err(BenchError::NoPort)?;
                let decoy = measure(Some(attack), Target::Decoy(address))?;
                report.add(judge(&decoy, &no_attack))?;
                decoy
            } else {
                no_attack.clone()
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
    use crate::harness::report::TERMINAL_COLUMNS;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_long_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= TERMINAL_COLUMNS, "{line}");
        }
        let quick =
            Arguments::try_parse_from(["attacks", "--quick", "--only", "mac1-20k"]).unwrap();
        assert!(quick.options.chosen().eq([Attack::Mac1At20k]));
        assert!(Arguments::try_parse_from(["attacks", "--quick", "--duration", "3"]).is_err());
    }
}

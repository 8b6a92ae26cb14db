//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::attack::Attack;
use crate::peers::Programs;
use crate::peers::arguments::Run;
use crate::peers::error::BenchError;

/// Measures what clients notice of attacks on their gateway, and checks it against the bounds of
/// docs/SECURITY.md. Attacks with the addresses of clients need root.
///
/// Exit codes: 0 every bound holds, 1 something could not be measured, 2 wrong usage, 3 a bound does not
/// hold.
#[derive(Parser, Debug)]
#[command(name = "attacks", bin_name = "scripts/bench.sh attacks")]
pub(crate) struct Arguments {
    /// Carry out this attack only; repeatable
    #[arg(long, value_name = "ATTACK", value_enum)]
    only: Vec<Attack>,
    /// Print the attacks and end
    #[arg(long)]
    pub(crate) list: bool,
    /// How many seconds every attack takes
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,
    /// Two seconds of each: shows that everything works, measures little
    #[arg(long, conflicts_with = "duration")]
    quick: bool,
    /// Write the results here as well, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables of docs/SECURITY.md here
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Attack this gateway instead of building the one of this tree
    #[arg(long, value_name = "FILE")]
    snapgate: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// The attacks to carry out, in the order of the table.
    pub(crate) fn attacks(&self) -> impl Iterator<Item = Attack> {
        Attack::ALL
            .into_iter()
            .filter(|attack| self.only.is_empty() || self.only.contains(attack))
    }

    /// Errors: [`BenchError::NeedsRoot`], before anything is built or measured.
    pub(crate) fn check_rights(&self) -> Result<(), BenchError> {
        let mut needing = self.attacks().filter(|attack| attack.needs_root());
        match needing.next() {
            Some(attack) if !rustix::process::geteuid().is_root() => Err(BenchError::NeedsRoot {
                attack: attack.name(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { self.duration })
    }

    /// Builds the gateway and looks at the machine.
    pub(crate) fn run(&self, programs: Programs) -> Result<Run, BenchError> {
        Run::new(programs, self.snapgate.as_deref(), 1, self.quick)
    }
}

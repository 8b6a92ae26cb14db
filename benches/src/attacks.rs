//! The gateway as a process, under attack: what its clients notice. `cargo bench -p benches --bench attacks
//! -- --help` says how to use it, `docs/SECURITY.md` shows what came out.
//!
//! A hundred tunnels carry 20,000 round trips a second through a gateway with one worker and the limits that
//! are the default, first in peace, then while somebody sends what would harm a gateway as fast as a core
//! can. A client that is new tries to connect meanwhile. Latencies are compared with those of the same load
//! while the same attacker sends to somebody else, so that the gateway alone makes the difference.

mod arguments;
mod attack;
mod attacker;
mod case;
mod counters;
mod flood;
mod forged_data;
mod many_tunnels;
mod result;

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use self::arguments::Arguments;
use self::attack::Attack;
use self::case::Target;
use crate::peers::Programs;
use crate::peers::error::BenchError;
use crate::peers::machine::Machine;

/// What the command line asks for; `programs` are what cargo built with the benchmark.
#[must_use]
pub fn main(programs: Programs) -> ExitCode {
    let arguments = Arguments::parse();
    match measure_all(&arguments, programs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            let _nobody_listens = writeln!(io::stderr(), "attacks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints as it goes, and returns whether every bound holds.
fn measure_all(arguments: &Arguments, programs: Programs) -> Result<bool, BenchError> {
    let mut out = io::stdout().lock();
    if arguments.list {
        for attack in Attack::ALL {
            writeln!(out, "{:<14}{}", attack.name(), attack.about())?;
        }
        return Ok(true);
    }
    let mut json = match &arguments.json {
        Some(path) => Some(BufWriter::new(File::create(path).map_err(|source| {
            BenchError::Write {
                path: path.clone(),
                source,
            }
        })?)),
        None => None,
    };
    let run = arguments.run(programs)?;
    let machine = Machine::of_this(1);
    write!(out, "{machine}\n\n")?;
    if let Some(json) = &mut json {
        machine.write_json(json)?;
    }
    let measure = |attack, target| case::measure(&run, arguments.duration(), attack, target);
    let peace = measure(None, Target::Gateway)?;
    let mut results = vec![result::judge(&peace, &peace)];
    let mut tell = |result: &result::Judged| -> Result<(), BenchError> {
        result.write_text(&mut out)?;
        out.flush()?;
        if let Some(json) = &mut json {
            result.write_json(json)?;
            json.flush()?;
        }
        Ok(())
    };
    tell(&results[0])?;
    for attack in arguments.attacks() {
        // Only of this one latencies have a bound.
        let baseline = if attack == Attack::Strangers {
            let decoy = measure(Some(attack), Target::Decoy)?;
            let judged = result::judge(&decoy, &peace);
            tell(&judged)?;
            results.push(judged);
            decoy
        } else {
            peace.clone()
        };
        let judged = result::judge(&measure(Some(attack), Target::Gateway)?, &baseline);
        tell(&judged)?;
        results.push(judged);
    }
    if let Some(path) = &arguments.markdown {
        let mut text = Vec::new();
        machine.write_markdown(&mut text)?;
        result::write_markdown(&mut text, &results)?;
        std::fs::write(path, text).map_err(|source| BenchError::Write {
            path: path.clone(),
            source,
        })?;
    }
    Ok(results.iter().all(result::Judged::holds))
}

//! The gateway as a process, measured under load: against its floor, against the SNAP data plane of today,
//! and, with `--baseline`, against an older build. `scripts/bench.sh peers --help` says how to
//! use it, `docs/PERFORMANCE.md` how to read it.
//!
//! What is measured next to each other is compared with each other: a round measures every side of a
//! comparison once, and a ratio is taken within a round. The results are medians over rounds.

pub(crate) mod arguments;
pub(crate) mod baseline;
mod case;
pub(crate) mod error;
pub(crate) mod machine;
mod measure;
pub(crate) mod program;
pub(crate) mod result;
mod rows;
pub(crate) mod server;

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;
pub use arguments::Programs;
use error::BenchError;
use machine::Machine;
use result::Outcome;
use rows::Row;

/// What the command line asks for; `programs` are the gateways.
#[must_use]
pub fn main(programs: Programs) -> ExitCode {
    let arguments = Arguments::parse();
    match measure_all(&arguments, programs) {
        Ok(Outcome::Holds) => ExitCode::SUCCESS,
        Ok(Outcome::DoesNotHold) => ExitCode::from(3),
        Ok(Outcome::NotEnoughRounds) => ExitCode::from(4),
        Err(error) => {
            let _nobody_listens = writeln!(io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints as it goes, and returns whether every bound holds.
fn measure_all(arguments: &Arguments, programs: Programs) -> Result<Outcome, BenchError> {
    let mut out = io::stdout().lock();
    if arguments.list {
        for row in Row::ALL {
            writeln!(out, "{:<14}{}", row.name(), row.about())?;
        }
        return Ok(Outcome::Holds);
    }
    arguments.check_rows()?;
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
    let mut machine = Machine::of_this(arguments.rounds());
    machine.baseline = run.baseline_info()?;
    result::write_wrapped(&mut out, "", &machine.to_string())?;
    writeln!(out)?;
    if let Some(json) = &mut json {
        machine.write_json(json)?;
    }
    let mut results = Vec::new();
    for row in arguments.rows() {
        for result in row.measure(&run)? {
            result.write_text(&mut out)?;
            out.flush()?;
            if let Some(json) = &mut json {
                result.write_json(json)?;
                json.flush()?;
            }
            results.push(result);
        }
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
    Ok(Outcome::of(&results))
}

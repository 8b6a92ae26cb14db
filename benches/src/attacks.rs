//! The gateway as a process, under attack: what its clients notice. `scripts/bench.sh attacks --help` says
//! how to use it, `docs/SECURITY.md` shows what came out.
//!
//! A hundred tunnels carry 20,000 round trips a second through a gateway with one worker and the default limits,
//! first in peace, then under each attack. Meanwhile a new client connects, and others renew their sessions. The
//! latency under a flood of initiations is compared with that of the same load while the attacker sends to
//! another socket. What merges with the packets of a client (GRO) needs links, so there the gateway, one client with
//! 5,000 round trips a second and the attacker are in network namespaces.

mod arguments;
mod attack;
mod attacker;
mod case;
mod counters;
mod exhausted;
mod flood;
mod forged_data;
mod half_open;
mod idle_http;
mod initiation;
mod many_tunnels;
mod rekeys;
mod result;
mod site;
mod spoofed;
mod tiny_trains;

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::ExitCode;

use clap::Parser as _;

use self::arguments::Arguments;
use self::attack::Attack;
use self::case::Target;
use crate::peers::Programs;
use crate::peers::error::BenchError;
use crate::peers::machine::Machine;
use crate::peers::result::write_wrapped;

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
            write_wrapped(&mut out, "", attack.name())?;
            write_wrapped(&mut out, "    ", attack.about())?;
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
    arguments.check_rights()?;
    let run = arguments.run(programs)?;
    let machine = Machine::of_this(1);
    write_wrapped(&mut out, "", &machine.to_string())?;
    writeln!(out)?;
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
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::NoPort)?;
            let address = socket.local_addr().map_err(BenchError::NoPort)?;
            let decoy = measure(Some(attack), Target::Decoy(address))?;
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

//! `snapgate demo`.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use snapload::Direction;

use super::output::{FAILURE, USAGE, end_after_printing, fail};
use crate::config::fault::Fault;
use crate::config::workers::{self, CpusAsked, WorkersAsked};
use crate::config::{Dispatch, values};
use crate::cpus::AvailableCpus;
use crate::demo::{self, DemoError, DemoOptions};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// How long to measure, such as 10s or 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,

    /// Gateway workers; auto is one for each CPU, which the clients use too
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = WorkersAsked::parse)]
    workers: WorkersAsked,

    /// The CPU of each worker, such as 0-3,8, or none to let the scheduler move them
    #[arg(long, value_name = "LIST|auto|none", default_value = "auto",
          value_parser = CpusAsked::parse)]
    cpus: CpusAsked,

    /// Clients, each with its own key, socket and tunnel
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_tunnels)]
    tunnels: NonZeroUsize,

    /// Packets per second over all tunnels, or max for as many as come back
    #[arg(long, value_name = "N|max", default_value = "10000", value_parser = parse_rate)]
    rate: Rate,

    /// Size of the SCION packets in the tunnels, in bytes
    #[arg(long, value_name = "SIZE", default_value = "1200", value_parser = parse_size)]
    size: usize,

    /// Who brings a datagram to the worker of its tunnel: a program at the sockets, or the other
    /// workers
    #[arg(long, value_name = "kernel|user", default_value = "kernel",
          value_parser = values::dispatch)]
    dispatch: Dispatch,

    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Starts a gateway on the loopback interface that sends every packet back into its tunnel, and \
clients that do real handshakes and send real packets. Needs no privileges and no configuration.

Examples:
  snapgate demo
  snapgate demo --tunnels 1000 --size 1400 --duration 30s
  snapgate demo --rate max --json";

/// Packets per second.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Rate {
    Max,
    PerSecond(f64),
}

/// Runs the demo.
pub(super) fn demo(arguments: &DemoArgs) -> ExitCode {
    let options = match options(arguments, &AvailableCpus::of_this_process()) {
        Ok(options) => options,
        Err(fault) => return fail(USAGE, &fault),
    };
    match demo::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DemoError::Print(error)) => end_after_printing(Err(error)),
        Err(error) => fail(FAILURE, &error),
    }
}

fn options(arguments: &DemoArgs, available: &AvailableCpus) -> Result<DemoOptions, Fault> {
    let (workers, cpus) = workers::choose(arguments.workers, &arguments.cpus, available)?;
    Ok(DemoOptions {
        duration: arguments.duration,
        workers,
        cpus,
        tunnels: arguments.tunnels,
        rate: match arguments.rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => Some(rate),
        },
        size: arguments.size,
        dispatch: arguments.dispatch,
        json: arguments.json,
    })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("it has to be longer than nothing".to_owned()),
        Err(_) => Err("it is not a time; write it like 500ms, 10s or 1m".to_owned()),
    }
}

fn parse_tunnels(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse()
        .map_err(|_| "it is not a whole number of at least 1")
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err("it is neither max nor a number above 0".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<usize, Fault> {
    // The demo's gateway listens on IPv4.
    let min = Direction::Echo.min_packet_bytes(Ipv4Addr::LOCALHOST.into());
    values::size(text, min, snapload::MAX_PACKET_BYTES)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::CpuPinning;

    use super::*;

    #[derive(Parser)]
    struct Demo {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(arguments: &[&str]) -> Result<DemoOptions, String> {
        let arguments = ["demo"].iter().chain(arguments);
        let demo = Demo::try_parse_from(arguments)
            .map_err(|error| error.to_string())?
            .demo;
        let available = AvailableCpus {
            allowed: vec![0, 1, 2],
            quota_millicpus: None,
        };
        options(&demo, &available).map_err(|fault| fault.to_string())
    }

    #[test]
    fn without_flags_each_cpu_has_a_worker_and_the_rate_is_moderate() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.workers.count.get(), 3);
        assert_eq!(options.cpus, CpuPinning::Pinned(vec![0, 1, 2]));
        assert_eq!(options.duration, Duration::from_secs(10));
        assert_eq!(
            (options.tunnels.get(), options.rate, options.size),
            (100, Some(10_000.0), 1200)
        );
    }

    #[test]
    fn flags_are_taken_over() {
        let options = parse(&[
            "--duration=500ms",
            "--workers=8",
            "--cpus=none",
            "--rate=1000",
            "--size=1KiB",
            "--dispatch=user",
        ])
        .unwrap();
        assert_eq!(options.duration, Duration::from_millis(500));
        assert_eq!(
            (options.workers.count.get(), options.rate, options.size),
            (8, Some(1000.0), 1024)
        );
        assert_eq!(options.dispatch, Dispatch::User);
    }

    #[test]
    fn the_smallest_packet_is_one_that_can_be_sent() {
        assert_eq!(parse(&["--size=64"]).unwrap().size, 64);
    }

    #[test]
    fn nonsense_is_refused_with_a_remedy() {
        for (flag, remedy) in [
            ("--duration=soon", "write it like 500ms"),
            ("--duration=0s", "longer than nothing"),
            ("--rate=-1", "neither max nor a number"),
            ("--rate=inf", "neither max nor a number"),
            ("--tunnels=0", "at least 1"),
            ("--tunnels=many", "at least 1"),
            ("--size=1MiB", "is not a size"),
            ("--size=63", "is not a size from 64 to"),
            ("--dispatch=magic", "is none of kernel and user"),
            ("--workers=9", "--cpus none"),
            ("--cpus=7", "leave it out"),
        ] {
            let error = parse(&[flag]).unwrap_err();
            assert!(error.contains(remedy), "{flag}: {error}");
        }
    }
}

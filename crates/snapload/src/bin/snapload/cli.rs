//! Command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use snapload::{Cpus, parse_pps, parse_time};

use crate::demo::DemoArguments;
use crate::load_args::{CommonArguments, LoadArguments};
use crate::values::{
    Key, RateArgument, parse_cpus, parse_key, parse_percent, parse_rate, parse_tunnels,
};

const EXIT_CODES: &str = "\
Exit codes:
  0    the run is complete and all checks hold
  1    the run failed: no result
  2    invalid arguments
  3    a check failed (--max-loss, --max-p99)
  4    the offered rate was not reached: the result is for a lower rate
  130  interrupted by SIGINT or SIGTERM: the result covers the time until then";

const SEARCH_EXIT_CODES: &str = "\
Exit codes:
  0    a rate was found for every loss target
  1    the search failed: no result
  2    invalid arguments
  3    the lowest rate does not hold for a loss target
  4    a rate is a lower bound: the generator was too slow, or --max-rate holds
  130  interrupted by SIGINT or SIGTERM: only the rates found until then";

const SCRIPT_EXIT_CODES: &str = "\
Exit codes:
  0    PASS: all checks of the scenario hold
  1    the scenario failed: no result
  2    invalid arguments or scenario file
  3    FAIL: a check does not hold, or the generator was too slow
  130  interrupted by SIGINT or SIGTERM: no verdict; tables cover the time until then";

const REPORT_EXIT_CODES: &str = "\
Exit codes:
  0    the comparison is complete
  1    the output or the figure cannot be written
  2    invalid arguments or recordings";

/// Load generator for SNAPtun gateways: throughput, loss and latency over many tunnels
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a gateway and its clients on this machine and print the results
    Demo(DemoArguments),
    /// Send packets through tunnels and count arrivals
    ///
    /// The gateway needs a configuration for the direction. echo: forward mode echo, or scion with --isd-as as a local
    /// ISD-AS, since packets are addressed to their own tunnel. up: forward mode scion with --isd-as as a local ISD-AS
    /// and --router as the next hop of --interface. down: forward mode scion with --internal as the internal address,
    /// and the IP address of --router as a next hop or in --internal-from.
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArguments>),
    /// Find the highest rate without loss, or with little loss
    ///
    /// Runs trials at one rate after another with tunnels that stay connected: first short ones to find the range, then
    /// longer ones that bisect between the highest rate that holds and the lowest that does not (RFC 2544, MLRsearch).
    /// The majority of its trials decides whether a rate holds, and both ends of the result are tried again, so that
    /// disturbances of the machine have little effect.
    #[command(after_help = SEARCH_EXIT_CODES)]
    Search(Box<SearchArguments>),
    /// Run a scenario: phases in which tunnels connect, leave, rekey and carry load, and attackers
    /// send garbage
    ///
    /// The gateway has to return the packets, as for an echo of `snapload run`. The scenario can contain the gateway's
    /// address, its key and a key seed; options override them. Every tunnel has its own identity: `snapload keys
    /// --script FILE` prints the identities that the gateway must authorize.
    #[command(after_help = SCRIPT_EXIT_CODES)]
    Script(Box<ScriptArguments>),
    /// Compare recorded runs (output of `snapload run --json`) side by side
    ///
    /// Settings are shown if they differ. Ratios are relative to the first run.
    #[command(after_help = REPORT_EXIT_CODES)]
    Report(ReportArguments),
    /// Print the identities of a key seed as TOML, for the gateway to authorize
    Keys(KeysArguments),
}

#[derive(Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) load: LoadArguments,

    /// Packets per second over all tunnels, such as 50000, 50k or 1.5M; or max
    ///
    /// A number is an open loop: packets are due at scheduled times, independent of arrivals, and latencies count from
    /// these times.
    ///
    /// max is a closed loop: a packet is sent when another arrives, with at most --window in flight. Latencies are then
    /// those of full queues.
    #[arg(
        help_heading = "Traffic", long, value_name = "PPS|max", default_value = "1000",
        value_parser = parse_rate
    )]
    pub(crate) rate: RateArgument,

    /// Packets in flight over all tunnels, with --rate max [default: 512]
    #[arg(help_heading = "Traffic", long, value_name = "PACKETS")]
    pub(crate) window: Option<u32>,

    /// Duration of the measurement
    #[arg(
        help_heading = "Traffic", long, value_name = "TIME", default_value = "10s",
        value_parser = parse_time
    )]
    pub(crate) duration: Duration,

    /// Duration of the warm-up, in which packets are sent but not counted
    #[arg(
        help_heading = "Traffic", long, value_name = "TIME", default_value = "1s",
        value_parser = parse_time
    )]
    pub(crate) warm_up: Duration,

    /// Print JSON, one object per line: intervals, then a summary
    #[arg(help_heading = "Output", long)]
    pub(crate) json: bool,

    /// Interval between reports
    #[arg(
        help_heading = "Output", long, value_name = "TIME", default_value = "1s",
        value_parser = parse_time
    )]
    pub(crate) interval: Duration,

    /// Check that at most this share of the packets is lost, in percent
    #[arg(
        help_heading = "Checks", long, value_name = "PERCENT", value_parser = parse_percent
    )]
    pub(crate) max_loss: Option<f64>,

    /// Check that the 99th percentile of the latencies is at most this
    #[arg(
        help_heading = "Checks", long, value_name = "TIME", value_parser = parse_time
    )]
    pub(crate) max_p99: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct SearchArguments {
    #[command(flatten)]
    pub(crate) load: LoadArguments,

    /// Share of packets that may be lost, in percent; repeat it for several rates
    #[arg(
        help_heading = "Search", long, value_name = "PERCENT", default_values = ["0", "0.5"],
        value_parser = parse_percent
    )]
    pub(crate) loss: Vec<f64>,

    /// Lowest rate to try, in packets per second
    #[arg(
        help_heading = "Search", long, value_name = "PPS", default_value = "1k",
        value_parser = parse_pps
    )]
    pub(crate) min_rate: f64,

    /// Highest rate to try, in packets per second
    #[arg(
        help_heading = "Search", long, value_name = "PPS", default_value = "10M",
        value_parser = parse_pps
    )]
    pub(crate) max_rate: f64,

    /// Duration of the measurement in a trial
    ///
    /// A rate that is slightly too high shows loss only after queues have filled, so longer trials find lower and more
    /// reliable rates.
    #[arg(
        help_heading = "Search", long, value_name = "TIME", default_value = "2s",
        value_parser = parse_time
    )]
    pub(crate) trial: Duration,

    /// Duration of the warm-up of a trial
    #[arg(
        help_heading = "Search", long, value_name = "TIME", default_value = "200ms",
        value_parser = parse_time
    )]
    pub(crate) warm_up: Duration,

    /// Maximum distance of the highest rate that holds from the lowest that does not, in percent
    #[arg(
        help_heading = "Search", long, value_name = "PERCENT", default_value = "2",
        value_parser = parse_percent
    )]
    pub(crate) precision: f64,

    /// Print JSON, one object per line: trials, rates, then a summary
    #[arg(help_heading = "Output", long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ScriptArguments {
    /// Scenario file (TOML)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// SNAPtun listen address of the gateway [default: from the scenario]
    #[arg(help_heading = "Gateway", long, value_name = "ADDR")]
    pub(crate) gateway: Option<SocketAddr>,

    /// Public key of the gateway [default: from the scenario]
    #[arg(help_heading = "Gateway", long, value_name = "BASE64", value_parser = parse_key)]
    pub(crate) public_key: Option<Key>,

    #[command(flatten)]
    pub(crate) common: CommonArguments,

    /// Maximum time for a tunnel to connect before a phase begins
    #[arg(
        help_heading = "Tunnels", long, value_name = "TIME", default_value = "30s",
        value_parser = parse_time
    )]
    pub(crate) connect_timeout: Duration,

    /// CPUs of the threads, used in turn, such as 2,4-7 [default: chosen by the system]
    #[arg(help_heading = "Generator", long, value_name = "LIST", value_parser = parse_cpus)]
    pub(crate) cpus: Option<Cpus>,

    /// Print JSON, one object per line: intervals, phases, then the verdict
    #[arg(help_heading = "Output", long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ReportArguments {
    /// Output of `snapload run --json`, one file per run
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Print JSON, one object per line: settings that differ, then results
    #[arg(long)]
    pub(crate) json: bool,

    /// Plot latency by percentile, and throughput and loss over time, into a .png or .svg file
    #[cfg(feature = "plot")]
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct KeysArguments {
    /// Number of identities
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_tunnels)]
    pub(crate) tunnels: usize,

    /// Print as many identities as this scenario needs
    #[arg(long, value_name = "FILE", conflicts_with = "tunnels")]
    pub(crate) script: Option<PathBuf>,

    /// Seed of the keys. It reveals the private keys, so use it only for tests
    #[arg(long, value_name = "N")]
    pub(crate) key_seed: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

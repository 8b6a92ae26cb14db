//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use scion_packet::IsdAs;
use snapload::{Cpus, DEFAULT_ISD_AS, parse_pps, parse_time};

use crate::demo::DemoArguments;
use crate::load_args::LoadArguments;
use crate::values::{
    Key, RateArgument, parse_cpus, parse_key, parse_network, parse_percent, parse_rate,
    parse_tunnels,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  the run is complete and every check holds
  1  the run failed: no result
  2  bad usage
  3  a check failed (--max-loss, --max-p99)
  4  the offered rate was not reached: the result is for a lower rate
  130  interrupted by Ctrl-C or SIGTERM: the result, if any, is of the time until then";

const SEARCH_EXIT_CODES: &str = "\
Exit codes:
  0  a rate was found for every loss target
  1  the search failed: no result
  2  bad usage
  3  not even the lowest rate holds for a loss target
  4  a rate is a lower bound: the generator was too slow for more, or --max-rate holds
  130  interrupted by Ctrl-C or SIGTERM: the rates, if any, are those found until then";

const SCRIPT_EXIT_CODES: &str = "\
Exit codes:
  0  PASS: every check of the scenario holds
  1  the scenario failed: no result
  2  bad usage, or the file is no scenario
  3  FAIL: a check does not hold, or the generator was too slow for the scenario
  130  interrupted by Ctrl-C or SIGTERM: no verdict, and the tables are of the time until then";

const REPORT_EXIT_CODES: &str = "\
Exit codes:
  0  the comparison is complete
  1  the output or the figure cannot be written
  2  bad usage, or a file is no recorded run";

/// Load for SNAPtun gateways: throughput, loss and latency over many tunnels.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a gateway with real clients on this machine and print what it did
    Demo(DemoArguments),
    /// Send packets through tunnels and count what arrives
    ///
    /// The gateway has to pass the packets on. echo: it echoes them, or it forwards SCION of
    /// --isd-as, for they are addressed to the tunnel they come from. up: it forwards SCION of
    /// --isd-as, and the next hop of --interface is --router. down: it forwards SCION,
    /// --internal is its internal address, and a next hop or --internal-from has the IP address of
    /// --router.
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArguments>),
    /// Find the highest rate at which no packet is lost, or few
    ///
    /// Trials at one rate after another, with tunnels that stay connected: short ones to find where
    /// to look, then longer ones, which halve the range between the highest rate that holds and the
    /// lowest that does not (RFC 2544, MLRsearch). The majority of trials decides on a rate, and both
    /// ends of the result are tried again in the end, so that a disturbance of the machine changes
    /// little.
    #[command(after_help = SEARCH_EXIT_CODES)]
    Search(Box<SearchArguments>),
    /// Play a scenario: phases of tunnels that come, go, rekey or carry load, and of attackers
    ///
    /// The gateway has to return the packets, as for an echo of `snapload run`. The scenario may
    /// name the gateway, its key and a seed of keys; what is said here wins. Every tunnel has an
    /// identity of its own: `snapload keys --script FILE` prints those that the gateway has to
    /// authorize.
    #[command(after_help = SCRIPT_EXIT_CODES)]
    Script(Box<ScriptArguments>),
    /// Compare recorded runs: what `snapload run --json` wrote, side by side
    ///
    /// Settings are shown where they differ. Ratios are multiples of the first run's value.
    #[command(after_help = REPORT_EXIT_CODES)]
    Report(ReportArguments),
    /// Print the identities of a seed as TOML, for the gateway to authorize
    Keys(KeysArguments),
}

#[derive(Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) load: LoadArguments,

    /// Packets a second over all tunnels, like 50000, 50k or 1.5M; or max
    ///
    /// A number is an open loop: packets are due at scheduled times, whatever arrives, and latencies
    /// are measured from these times.
    ///
    /// max is a closed loop: a packet is sent when another arrived, with at most --window in
    /// flight. Latencies are then those of full queues.
    #[arg(
        help_heading = "Traffic", long, value_name = "PPS|max", default_value = "1000",
        value_parser = parse_rate
    )]
    pub(crate) rate: RateArgument,

    /// With --rate max: packets in flight over all tunnels [default: 512]
    #[arg(help_heading = "Traffic", long, value_name = "PACKETS")]
    pub(crate) window: Option<u32>,

    /// How long packets are sent and counted
    #[arg(
        help_heading = "Traffic", long, value_name = "TIME", default_value = "10s",
        value_parser = parse_time
    )]
    pub(crate) duration: Duration,

    /// How long packets are sent before that without being counted
    #[arg(
        help_heading = "Traffic", long, value_name = "TIME", default_value = "1s",
        value_parser = parse_time
    )]
    pub(crate) warm_up: Duration,

    /// Print one JSON object a line instead of text: intervals, then a summary
    #[arg(help_heading = "Output", long)]
    pub(crate) json: bool,

    /// How often to report
    #[arg(
        help_heading = "Output", long, value_name = "TIME", default_value = "1s",
        value_parser = parse_time
    )]
    pub(crate) interval: Duration,

    /// Check that no more than this share of the packets is lost, in percent
    #[arg(
        help_heading = "Checks", long, value_name = "PERCENT", value_parser = parse_percent
    )]
    pub(crate) max_loss: Option<f64>,

    /// Check that 99 of 100 packets arrive within this time
    #[arg(
        help_heading = "Checks", long, value_name = "TIME", value_parser = parse_time
    )]
    pub(crate) max_p99: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct SearchArguments {
    #[command(flatten)]
    pub(crate) load: LoadArguments,

    /// How much may be lost, in percent; several times for several rates
    #[arg(
        help_heading = "Search", long, value_name = "PERCENT", default_values = ["0", "0.5"],
        value_parser = parse_percent
    )]
    pub(crate) loss: Vec<f64>,

    /// The lowest rate to try, in packets a second
    #[arg(
        help_heading = "Search", long, value_name = "PPS", default_value = "1k",
        value_parser = parse_pps
    )]
    pub(crate) min_rate: f64,

    /// The highest rate to try
    #[arg(
        help_heading = "Search", long, value_name = "PPS", default_value = "10M",
        value_parser = parse_pps
    )]
    pub(crate) max_rate: f64,

    /// How long packets of a trial are sent and counted
    ///
    /// A rate that is a little too high shows only when queues have filled: longer trials find lower
    /// and more reliable rates.
    #[arg(
        help_heading = "Search", long, value_name = "TIME", default_value = "2s",
        value_parser = parse_time
    )]
    pub(crate) trial: Duration,

    /// How long packets of a trial are sent before that without being counted
    #[arg(
        help_heading = "Search", long, value_name = "TIME", default_value = "200ms",
        value_parser = parse_time
    )]
    pub(crate) warm_up: Duration,

    /// How far apart the rate that holds and the one that does not may be in the end, in percent
    #[arg(
        help_heading = "Search", long, value_name = "PERCENT", default_value = "2",
        value_parser = parse_percent
    )]
    pub(crate) precision: f64,

    /// Print one JSON object a line instead of text: trials, rates, then a summary
    #[arg(help_heading = "Output", long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ScriptArguments {
    /// The scenario, a TOML file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Where the gateway listens for SNAPtun
    #[arg(help_heading = "Gateway", long, value_name = "ADDR")]
    pub(crate) gateway: Option<SocketAddr>,

    /// The gateway's public key
    #[arg(help_heading = "Gateway", long, value_name = "BASE64", value_parser = parse_key)]
    pub(crate) public_key: Option<Key>,

    /// Allow a gateway on another machine: only if it is yours
    #[arg(help_heading = "Gateway", long)]
    pub(crate) allow_remote: bool,

    /// ISD-AS of the tunnels: the gateway's own, when it forwards SCION
    #[arg(
        help_heading = "Gateway", long, value_name = "ISD-AS", default_value_t = DEFAULT_ISD_AS
    )]
    pub(crate) isd_as: IsdAs,

    /// Private keys of the tunnels: one base64 key a line, as `wg genkey` prints them [default:
    /// random keys]
    #[arg(
        help_heading = "Tunnels",
        long,
        value_name = "FILE",
        conflicts_with = "key_seed"
    )]
    pub(crate) keys_file: Option<PathBuf>,

    /// Make the keys from this number, as `snapload keys` does. Who knows it has the keys
    #[arg(help_heading = "Tunnels", long, value_name = "N")]
    pub(crate) key_seed: Option<u64>,

    /// Give tunnels and garbage the addresses of this network, in turn, like 127.1.0.0/16
    #[arg(help_heading = "Tunnels", long, value_name = "RANGE", value_parser = parse_network)]
    pub(crate) source_ip: Option<IpNet>,

    /// How long a tunnel may take to connect before a phase begins
    #[arg(
        help_heading = "Tunnels", long, value_name = "TIME", default_value = "30s",
        value_parser = parse_time
    )]
    pub(crate) connect_timeout: Duration,

    /// How long to go on, after the end, sending what was due before and is late [default: a
    /// twentieth of the duration, at most 100ms]
    ///
    /// A disturbance just before the end then does not count; a generator that is too slow does.
    #[arg(help_heading = "Generator", long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) catch_up: Option<Duration>,

    /// The CPUs the threads run on, in turn, like 2,4-7 [default: wherever the system puts them]
    #[arg(help_heading = "Generator", long, value_name = "LIST", value_parser = parse_cpus)]
    pub(crate) cpus: Option<Cpus>,

    /// Print one JSON object a line instead of text: intervals, phases, then the verdict
    #[arg(help_heading = "Output", long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ReportArguments {
    /// What `snapload run --json` wrote, each run in its own file
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Print one JSON object a line instead of a table: settings that differ, then results
    #[arg(long)]
    pub(crate) json: bool,

    /// Draw latency by percentile, and throughput and loss over time, into a .png or .svg file
    #[cfg(feature = "plot")]
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct KeysArguments {
    /// How many identities
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_tunnels)]
    pub(crate) tunnels: usize,

    /// As many as this scenario needs
    #[arg(long, value_name = "FILE", conflicts_with = "tunnels")]
    pub(crate) script: Option<PathBuf>,

    /// The number to make the keys from. Who knows it has the keys: for tests only
    #[arg(long, value_name = "N")]
    pub(crate) key_seed: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

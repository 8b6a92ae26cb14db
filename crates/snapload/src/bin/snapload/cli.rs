//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use jiff::SignedDuration;
use scion_packet::IsdAs;
use snapload::{Cpus, DEFAULT_ISD_AS, DEFAULT_WINDOW, key_from_base64};

const EXIT_CODES: &str = "\
Exit codes:
  0  the run is complete and every check holds
  1  the run failed: no result
  2  bad usage
  3  a check failed (--max-loss, --max-p99)
  4  the offered rate was not reached: the result is for a lower rate";

const REPORT_EXIT_CODES: &str = "\
Exit codes:
  0  the comparison is complete
  1  the output or the figure cannot be written
  2  bad usage, or a file is no recorded run";

/// Load for SNAPtun gateways: throughput, loss and round-trip times over many tunnels.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send packets through tunnels and count what comes back
    ///
    /// The gateway has to return the packets: it echoes them, or it forwards SCION of --isd-as, for
    /// they are addressed to the tunnel they come from. Every tunnel has its own socket and
    /// identity.
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArguments>),
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
    /// Where the gateway listens for SNAPtun
    #[arg(long, value_name = "ADDR")]
    pub(crate) gateway: SocketAddr,

    /// The gateway's public key
    #[arg(long, value_name = "BASE64", value_parser = parse_key)]
    pub(crate) public_key: Key,

    /// How many tunnels [default: one, or one per key of --keys-file]
    #[arg(long, value_name = "N")]
    pub(crate) tunnels: Option<usize>,

    /// How many threads share the tunnels
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,

    /// The CPUs the threads run on, in turn, like 2,4-7; or none [default: from the last one down]
    #[arg(long, value_name = "LIST|none", value_parser = parse_cpus)]
    pub(crate) cpus: Option<Cpus>,

    /// Size of the SCION packets in bytes, at least 64 over IPv4 and 88 over IPv6
    #[arg(long, value_name = "BYTES", default_value_t = 1200)]
    pub(crate) size: usize,

    /// Packets a second over all tunnels, like 50000, 50k or 1.5M; or max
    ///
    /// A number is an open loop: packets are due at scheduled times, whatever comes back, and round
    /// trips are measured from these times.
    ///
    /// max is a closed loop: a packet is sent when another came back, with at most --window in
    /// flight. Round trips are then those of full queues.
    #[arg(
        long, value_name = "PPS|max", default_value = "1000", value_parser = parse_rate
    )]
    pub(crate) rate: RateArgument,

    /// With --rate max: packets in flight over all tunnels
    #[arg(long, value_name = "PACKETS", default_value_t = DEFAULT_WINDOW)]
    pub(crate) window: u32,

    /// Packets sent back to back on a tunnel, 1 to 64 [default: 1; 16 with --rate max]
    ///
    /// Trains are what makes gateways and generators fast. With 1 all packets are spaced evenly.
    #[arg(long, value_name = "PACKETS")]
    pub(crate) train: Option<u32>,

    /// How long packets are sent and counted
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,

    /// How long packets are sent before that without being counted
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,

    /// How long the last replies are waited for; what is missing then is lost
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) drain: Duration,

    /// How long a tunnel may take to connect
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,

    /// Private keys of the tunnels: one base64 key a line, as `wg genkey` prints them [default:
    /// random keys]
    #[arg(long, value_name = "FILE", conflicts_with = "key_seed")]
    pub(crate) keys_file: Option<PathBuf>,

    /// Make the keys from this number, as `snapload keys` does. Who knows it has the keys
    #[arg(long, value_name = "N")]
    pub(crate) key_seed: Option<u64>,

    /// Bind the tunnels to the addresses of this network, in turn, like 127.0.1.0/24
    ///
    /// A gateway limits handshakes per source address, and an address has only so many ports.
    #[arg(long, value_name = "RANGE", value_parser = parse_network)]
    pub(crate) source_ip: Option<IpNet>,

    /// Source and destination ISD-AS of the packets: the gateway's, when it forwards SCION
    #[arg(long, value_name = "ISD-AS", default_value_t = DEFAULT_ISD_AS)]
    pub(crate) isd_as: IsdAs,

    /// Allow a gateway on another machine: only if it is yours
    #[arg(long)]
    pub(crate) allow_remote: bool,

    /// Print one JSON object a line instead of text: intervals, then a summary
    #[arg(long)]
    pub(crate) json: bool,

    /// How often to report
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) interval: Duration,

    /// Check that no more than this share of the packets is lost, in percent
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) max_loss: Option<f64>,

    /// Check that 99 of 100 round trips take no longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) max_p99: Option<Duration>,
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
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) tunnels: usize,

    /// The number to make the keys from. Who knows it has the keys: for tests only
    #[arg(long, value_name = "N")]
    pub(crate) key_seed: u64,
}

/// A public key. A type of its own, since clap takes arrays for lists.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub(crate) [u8; 32]);

/// What `--rate` says; the window comes from its own option.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum RateArgument {
    PerSecond(f64),
    Max,
}

fn parse_key(text: &str) -> Result<Key, String> {
    key_from_base64(text)
        .map(Key)
        .ok_or_else(|| "a key is 32 bytes in base64: 44 characters that end with =".to_owned())
}

fn parse_rate(text: &str) -> Result<RateArgument, String> {
    if text == "max" {
        return Ok(RateArgument::Max);
    }
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(pps) if pps.is_finite() && pps > 0.0 => Ok(RateArgument::PerSecond(pps * factor)),
        _ => Err("a rate is a number of packets a second, like 50000, 50k or 1.5M, or max".into()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "a time is a number with a unit, like 500us, 20ms, 10s or 2m".to_owned())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a share is a number from 0 to 100".to_owned()),
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip)))
        .map_err(|_| {
            "a range is an address or a network, like 127.0.1.7 or 127.0.1.0/24".to_owned()
        })
}

fn parse_cpus(text: &str) -> Result<Cpus, String> {
    if text == "none" {
        return Ok(Cpus::Unpinned);
    }
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < 1024 => {
                cpus.extend(first..=last);
            }
            _ => return Err("CPUs are numbers and ranges, like 2,4-7, or none".to_owned()),
        }
    }
    Ok(Cpus::List(cpus))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_have_suffixes() {
        assert_eq!(parse_rate("max"), Ok(RateArgument::Max));
        assert_eq!(parse_rate("250"), Ok(RateArgument::PerSecond(250.0)));
        assert_eq!(parse_rate("50k"), Ok(RateArgument::PerSecond(50_000.0)));
        assert_eq!(parse_rate("1.5M"), Ok(RateArgument::PerSecond(1_500_000.0)));
        for bad in ["", "k", "-1", "0", "inf", "nan", "1G", "max1"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "-1s", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_are_lists_of_ranges_or_none() {
        assert_eq!(parse_cpus("none"), Ok(Cpus::Unpinned));
        assert_eq!(parse_cpus("2,4-6"), Ok(Cpus::List(vec![2, 4, 5, 6])));
        for bad in ["", "a", "3-1", "1,,2", "0-99999999999"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(parse_percent("0.5"), Ok(0.5));
        assert_eq!(parse_percent("1%"), Ok(1.0));
        for bad in ["-1", "101", "few"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_of_addresses_may_be_one_address() {
        assert_eq!(parse_network("127.0.1.7"), parse_network("127.0.1.7/32"));
        assert!(parse_network("127.0.1").is_err());
    }
}

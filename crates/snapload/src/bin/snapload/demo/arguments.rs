//! Arguments of `snapload demo`.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use snapgate::config::{
    AvailableCpus, CpuPinning, Dispatch, WorkerCount, parse_dispatch, place_workers,
};
use snapload::{Direction, MAX_PACKET_BYTES, parse_time};

use crate::values::{self, RateArgument, parse_bytes};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArguments {
    /// Duration of the measurement, such as 10s or 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) duration: Duration,

    /// Number of gateway workers; auto means one per CPU. Clients use the same CPUs
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    workers: String,

    /// CPUs of the workers, such as 0-3,8, or none to leave them to the scheduler
    #[arg(long, value_name = "LIST|auto|none", default_value = "auto")]
    cpus: String,

    /// Number of clients, each with its own key, socket and tunnel
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_tunnels)]
    pub(super) tunnels: NonZeroUsize,

    /// Packets per second over all tunnels, or max for a closed loop
    #[arg(long, value_name = "N|max", default_value = "10000", value_parser = parse_rate)]
    pub(super) rate: RateArgument,

    /// Size of the SCION packets in bytes
    #[arg(long, value_name = "SIZE", default_value = "1200", value_parser = parse_size)]
    pub(super) size: usize,

    /// Path of a datagram to the worker of its tunnel: kernel (BPF program at the sockets) or user (handover between
    /// workers)
    #[arg(long, value_name = "kernel|user", default_value = "kernel",
          value_parser = parse_dispatch)]
    pub(super) dispatch: Dispatch,

    /// Print one JSON object instead of tables
    #[arg(long)]
    pub(super) json: bool,
}

const EXAMPLES: &str = "\
Starts a gateway on the loopback interface that echoes every packet, and clients that \
send packets through real tunnels. Needs no privileges and no configuration.

Examples:
  snapload demo
  snapload demo --tunnels 1000 --size 1400 --duration 30s
  snapload demo --rate max --json";

/// Workers of the gateway.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) count: WorkerCount,
    pub(super) cpus: CpuPinning,
}

impl DemoArguments {
    pub(super) fn workers(&self, available: &AvailableCpus) -> Result<Workers, String> {
        let (count, cpus) = place_workers(&self.workers, &self.cpus, available)?;
        Ok(Workers { count, cpus })
    }
}

fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    match parse_time(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("expected a duration above 0"),
        Err(_) => Err("expected a time such as 500ms, 10s or 1m"),
    }
}

fn parse_tunnels(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number of at least 1")
}

fn parse_rate(text: &str) -> Result<RateArgument, &'static str> {
    values::parse_rate(text).map_err(|_| "expected max or a number above 0")
}

fn parse_size(text: &str) -> Result<usize, String> {
    // The demo's gateway listens on IPv4.
    let min = Direction::Echo.min_packet_bytes(Ipv4Addr::LOCALHOST.into());
    parse_bytes(text)
        .ok()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| (min..=MAX_PACKET_BYTES).contains(bytes))
        .ok_or_else(|| format!("expected a size from {min} to {MAX_PACKET_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Demo {
        #[command(flatten)]
        demo: DemoArguments,
    }

    fn parse(arguments: &[&str]) -> Result<(DemoArguments, Workers), String> {
        let arguments = ["demo"].iter().chain(arguments);
        let demo = Demo::try_parse_from(arguments)
            .map_err(|error| error.to_string())?
            .demo;
        let available = AvailableCpus {
            allowed: vec![0, 1, 2],
            quota_millicpus: None,
        };
        let workers = demo.workers(&available)?;
        Ok((demo, workers))
    }

    #[test]
    fn defaults_are_one_worker_per_cpu_and_a_moderate_rate() {
        let (demo, workers) = parse(&[]).unwrap();
        assert_eq!(workers.count.count.get(), 3);
        assert_eq!(workers.cpus, CpuPinning::Pinned(vec![0, 1, 2]));
        assert_eq!(demo.duration, Duration::from_secs(10));
        assert_eq!(
            (demo.tunnels.get(), demo.rate, demo.size),
            (100, RateArgument::PerSecond(10_000.0), 1200)
        );
    }

    #[test]
    fn flags_override_defaults() {
        let (demo, workers) = parse(&[
            "--duration=500ms",
            "--workers=8",
            "--cpus=none",
            "--rate=1000",
            "--size=1KiB",
            "--dispatch=user",
        ])
        .unwrap();
        assert_eq!(demo.duration, Duration::from_millis(500));
        assert_eq!(
            (workers.count.count.get(), demo.rate, demo.size),
            (8, RateArgument::PerSecond(1000.0), 1024)
        );
        assert_eq!(demo.dispatch, Dispatch::User);
    }

    #[test]
    fn smallest_packet_has_64_bytes() {
        assert_eq!(parse(&["--size=64"]).unwrap().0.size, 64);
    }

    #[test]
    fn invalid_values_are_refused_with_a_remedy() {
        for (flag, remedy) in [
            ("--duration=soon", "such as 500ms"),
            ("--duration=0s", "above 0"),
            ("--rate=-1", "expected max or a number"),
            ("--rate=inf", "expected max or a number"),
            ("--tunnels=0", "at least 1"),
            ("--tunnels=many", "at least 1"),
            ("--size=1MiB", "expected a size"),
            ("--size=63", "expected a size from 64 to"),
            ("--dispatch=magic", "expected kernel or user"),
            ("--workers=9", "--cpus none"),
            ("--cpus=7", "use only CPUs 0-2"),
        ] {
            let error = parse(&[flag]).err().unwrap();
            assert!(error.contains(remedy), "{flag}: {error}");
        }
    }
}

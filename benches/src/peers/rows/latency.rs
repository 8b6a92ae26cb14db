//! Latency at half of the loss-free rate.

use std::ops::RangeInclusive;

use snapload::{FoundRate, LatencySummary, Rate, SearchConfig};

use super::Row;
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::limit::Limit;
use crate::harness::run::{Build, Run};
use crate::harness::server::{Kind, Server};
use crate::peers::case::Case;
use crate::peers::measure::{READY_BYTES_MAX, drive};
use crate::peers::result::Measured;

const TUNNELS: usize = 100;

/// Range of the search for the loss-free rate, in packets per second.
const SEARCHED_PPS: RangeInclusive<f64> = 5e3..=1e6;

/// Precision of the search, as a share of the rate.
const PRECISION: f64 = 0.05;

/// Duration of a trial of the search, in milliseconds.
const TRIAL_MS: u64 = 600;

/// Duration of the latency measurement, in milliseconds.
const LATENCY_MS: u64 = 2_000;

const SNAPGATE: Kind = Kind::Snapgate(Build::New);

const P99_OF_PEER_MAX: f64 = 0.5;

const MICROSECONDS: &str = "µs";

/// A quantile of the latency, and the bound of its ratio to the peer.
struct Quantile {
    name: &'static str,
    of: fn(&LatencySummary) -> u64,
    bound: Option<Limit>,
}

const QUANTILES: [Quantile; 3] = [
    Quantile {
        name: "p50",
        of: |latency| latency.p50_ns,
        bound: None,
    },
    Quantile {
        name: "p99",
        of: |latency| latency.p99_ns,
        bound: Some(Limit::AtMost(P99_OF_PEER_MAX)),
    },
    Quantile {
        name: "p99.9",
        of: |latency| latency.p99_9_ns,
        bound: None,
    },
];

pub(super) fn measure(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let case = Case::many_tunnels(TUNNELS);
    let ours = find_loss_free(run, &case, SNAPGATE)?;
    let peers = find_loss_free(run, &case, Kind::Peer)?;
    let mut measured = vec![loss_free_rates(&case, ours, peers)];

    let (our_pps, peer_pps) = (pps(ours), pps(peers));
    let common = our_pps.min(peer_pps) / 2.0;
    let mut at_common = (Vec::new(), Vec::new());
    let mut at_own = (Vec::new(), Vec::new());
    for _ in 0..run.rounds {
        at_common.0.push(latency(run, &case, SNAPGATE, common)?);
        at_common.1.push(latency(run, &case, Kind::Peer, common)?);
        at_own.0.push(latency(run, &case, SNAPGATE, our_pps / 2.0)?);
        at_own
            .1
            .push(latency(run, &case, Kind::Peer, peer_pps / 2.0)?);
    }
    let at = format!("both at {:.0} kpps", common / 1e3);
    measured.extend(QUANTILES.map(|quantile| compare(&quantile, &at, &at_common, quantile.bound)));
    let at = "each at half of its own rate";
    measured.extend(QUANTILES.map(|quantile| compare(&quantile, at, &at_own, None)));
    Ok(measured)
}

fn loss_free_rates(case: &Case, ours: FoundRate, peers: FoundRate) -> Measured {
    let kpps = |found| [pps(found) / 1e3];
    let name = format!("loss-free rate, {}", case.name());
    let mut measured = Measured::new(Row::Latency.name(), name, "kpps", &kpps(ours));
    measured.compare("snap-dataplane", &kpps(ours), &kpps(peers), None);
    for (kind, found) in [(SNAPGATE, ours), (Kind::Peer, peers)] {
        let note = if found.pps.is_none() {
            "packets were lost at every rate, even at the one shown"
        } else if found.is_lower_bound {
            "a lower bound: the load generator reached no more"
        } else {
            continue;
        };
        measured.notes.push(format!("{}: {note}", kind.name()));
    }
    measured
}

fn compare(
    quantile: &Quantile,
    at: &str,
    (ours, peers): &(Vec<LatencySummary>, Vec<LatencySummary>),
    bound: Option<Limit>,
) -> Measured {
    let micros = |rounds: &[LatencySummary]| -> Vec<f64> {
        rounds
            .iter()
            .map(|latency| (quantile.of)(latency) as f64 / 1e3)
            .collect()
    };
    let name = format!("latency {}, {at}", quantile.name);
    let mut measured = Measured::new(Row::Latency.name(), name, MICROSECONDS, &micros(ours));
    measured.compare("snap-dataplane", &micros(ours), &micros(peers), bound);
    measured
}

/// Returns the highest rate without losses.
fn find_loss_free(run: &Run, case: &Case, kind: Kind) -> Result<FoundRate, BenchError> {
    let mut server = Server::start(run, kind, case.way)?;
    let mut load = case.load(run, kind, &server)?;
    load.pre_encrypt_bytes = Some(READY_BYTES_MAX);
    let search = SearchConfig {
        loss_targets: vec![0.0],
        min_pps: *SEARCHED_PPS.start(),
        max_pps: *SEARCHED_PPS.end(),
        trial: run.time(TRIAL_MS),
        warm_up: run.time(TRIAL_MS) / 4,
        precision: PRECISION,
    };
    let report =
        snapload::search(&load, &search, &mut |_| {}).map_err(|error| server.load_failed(error))?;
    report
        .found
        .first()
        .copied()
        .ok_or(BenchError::NothingDelivered {
            server: kind.name(),
        })
}

/// Returns the rate that was found, or else the lowest rate of the search.
fn pps(found: FoundRate) -> f64 {
    found.pps.unwrap_or(*SEARCHED_PPS.start())
}

fn latency(run: &Run, case: &Case, kind: Kind, pps: f64) -> Result<LatencySummary, BenchError> {
    let mut server = Server::start(run, kind, case.way)?;
    let mut load = case.load(run, kind, &server)?;
    load.pre_encrypt_bytes = Some(READY_BYTES_MAX);
    load.rate = Rate::PerSecond(pps);
    load.duration = run.time(LATENCY_MS);
    load.warm_up = load.duration / 4;
    let report = drive(&mut server, &load, &mut |_| {})?;
    Ok(report.latency)
}

//! CPU time per handshake while many new identities connect.

use std::cell::Cell;

use snapload::{LoadError, Progress};

use super::Row;
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::limit::Limit;
use crate::harness::run::Run;
use crate::harness::server::{Kind, Server};
use crate::peers::baseline::Sides;
use crate::peers::case::{Case, on_the_gateways_cpu};
use crate::peers::result::Measured;
use crate::steps::measure_answer;

/// Number of identities, which connect as fast as possible.
const IDENTITIES: usize = 4000;

/// Duration of the measurement of the floor, in milliseconds.
const FLOOR_MS: u64 = 300;

/// Maximum ratio to the floor: at least 90 % of the handshakes that a CPU can do.
const RATIO_TO_FLOOR_MAX: f64 = 1.0 / 0.9;

const MICROSECONDS: &str = "µs/handshake";

pub(super) fn measure(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let case = Case::many_tunnels(run.many(IDENTITIES));
    let mut sides = Sides::new(run.has_baseline());
    let (mut peers, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..run.rounds {
        sides.measure(|build| storm(run, &case, Kind::Snapgate(build)))?;
        if run.baseline_only {
            continue;
        }
        let floor = on_the_gateways_cpu(run, || measure_answer(run.time(FLOOR_MS)))?;
        floors.push(floor / 1e3);
        peers.push(storm(run, &case, Kind::Peer)?.0);
    }
    let costs = sides.map(|(cost, _)| *cost);
    let ours = &costs.new;
    let name = format!("{} new identities connect", case.tunnels);
    let mut measured = Measured::new(Row::Handshakes.name(), name, MICROSECONDS, ours);
    measured.compare(
        "floor",
        ours,
        &floors,
        Some(Limit::AtMost(RATIO_TO_FLOOR_MAX)),
    );
    measured.compare("snap-dataplane", ours, &peers, None);
    measured.compare_with_baseline(&costs);
    for (server, rounds) in [("snapgate", &sides.new), ("baseline", &sides.baseline)] {
        let again: u64 = rounds.iter().map(|(_, retries)| retries).sum();
        if again > 0 {
            measured.notes.push(format!(
                "{again} handshake messages to {server} were repeated"
            ));
        }
    }
    Ok(vec![measured])
}

/// Returns the CPU time of the server per completed handshake in microseconds, and the number of repeated messages.
fn storm(run: &Run, case: &Case, kind: Kind) -> Result<(f64, u64), BenchError> {
    let mut server = Server::start(run, kind, case.way)?;
    let load = case.load(run, kind, &server)?;
    let clock = server.clock;
    let before = clock.ns()?;
    let after = Cell::new(None);
    let mut progress = |progress| {
        if let Progress::Connected(_) = progress {
            after.set(Some(clock.ns()));
        }
    };
    let connected = snapload::with_tunnels(&load, &mut progress, |generator| {
        Ok::<_, LoadError>(generator.connect_report())
    })
    .map_err(|error| server.load_failed(error))?;
    let after = after.take().transpose()?.unwrap_or(before);
    let cost = (after - before) as f64 / 1e3 / connected.tunnels as f64;
    Ok((cost, connected.retries))
}

//! CPU time per packet, against the floor and the peer.

use snapload::PacketSizes;

use super::{NS_PER_PACKET, Row};
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::limit::Limit;
use crate::harness::run::{Build, Run};
use crate::harness::server::{Kind, Way};
use crate::peers::baseline::Sides;
use crate::peers::case::Case;
use crate::peers::measure::{Loaded, measure_load};
use crate::peers::result::Measured;

/// Share of lost packets above which there is a note.
const NOTABLE_LOSS: f64 = 0.001;

const FULL_SIZE: PacketSizes = PacketSizes::Fixed(1400);

pub(super) fn forward(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let case = Case::one_tunnel(Way::Forward, FULL_SIZE);
    let bounds = Some((1.25, 1.0 / 3.5));
    Ok(vec![against_floor_and_peer(
        run,
        Row::Forward,
        &case,
        bounds,
    )?])
}

pub(super) fn echo(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let case = Case::one_tunnel(Way::Echo, FULL_SIZE);
    let bounds = Some((1.25, 1.0 / 1.8));
    Ok(vec![against_floor_and_peer(run, Row::Echo, &case, bounds)?])
}

pub(super) fn forward_100(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let case = Case::many_tunnels(100);
    let bounds = Some((1.25, 1.0 / 2.0));
    Ok(vec![against_floor_and_peer(
        run,
        Row::Forward100,
        &case,
        bounds,
    )?])
}

pub(super) fn forward_10k(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let (few, many) = (
        Case::many_tunnels(100),
        Case::many_tunnels(run.many(10_000)),
    );
    let mut of_few = Vec::new();
    let mut of_many = Sides::new(run.has_baseline());
    for _ in 0..run.rounds {
        if !run.baseline_only {
            of_few.push(measure_load(run, &few, Kind::Snapgate(Build::New))?);
        }
        of_many.measure(|build| measure_load(run, &many, Kind::Snapgate(build)))?;
    }
    let (of_few, sides) = (costs(&of_few), of_many.map(cost));
    let row = Row::Forward10k.name();
    let mut measured = Measured::new(row, many.name(), NS_PER_PACKET, &sides.new);
    measured.compare(
        "100 tunnels",
        &sides.new,
        &of_few,
        Some(Limit::AtMost(1.15)),
    );
    measured.compare_with_baseline(&sides);
    note_load("snapgate", &of_many.new, &mut measured);
    note_load("baseline", &of_many.baseline, &mut measured);
    Ok(vec![measured])
}

pub(super) fn sizes(run: &Run) -> Result<Vec<Measured>, BenchError> {
    // Packets of an echo need no path, so they can be smaller.
    [
        (Way::Echo, PacketSizes::Fixed(64)),
        (Way::Forward, PacketSizes::Fixed(512)),
        (Way::Forward, PacketSizes::Imix),
        (Way::Forward, PacketSizes::Fixed(8900)),
    ]
    .into_iter()
    .map(|(way, sizes)| {
        let case = Case::one_tunnel(way, sizes);
        against_floor_and_peer(run, Row::Sizes, &case, None)
    })
    .collect()
}

/// Measures a case against floor and peer. `bounds` has the maximum ratios to the floor and to the peer.
fn against_floor_and_peer(
    run: &Run,
    row: Row,
    case: &Case,
    bounds: Option<(f64, f64)>,
) -> Result<Measured, BenchError> {
    let mut ours = Sides::new(run.has_baseline());
    let (mut peers, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..run.rounds {
        ours.measure(|build| measure_load(run, case, Kind::Snapgate(build)))?;
        if run.baseline_only {
            continue;
        }
        floors.push(case.measure_floor(run)?);
        peers.push(measure_load(run, case, Kind::Peer)?);
    }
    let sides = ours.map(cost);
    let our_costs = &sides.new;
    let mut measured = Measured::new(row.name(), case.name(), NS_PER_PACKET, our_costs);
    let (floor_bound, peer_bound) = bounds.unzip();
    measured.compare("floor", our_costs, &floors, floor_bound.map(Limit::AtMost));
    measured.compare(
        "snap-dataplane",
        our_costs,
        &costs(&peers),
        peer_bound.map(Limit::AtMost),
    );
    measured.compare_with_baseline(&sides);
    let peer_train = case.train_for(Kind::Peer);
    if peer_train != case.train && !peers.is_empty() {
        measured.notes.push(format!(
            "snap-dataplane was sent trains of {peer_train}: longer ones do not fit into its receive slots"
        ));
    }
    note_load("snapgate", &ours.new, &mut measured);
    note_load("baseline", &ours.baseline, &mut measured);
    note_load("snap-dataplane", &peers, &mut measured);
    Ok(measured)
}

pub(super) fn costs(rounds: &[Loaded]) -> Vec<f64> {
    rounds.iter().map(cost).collect()
}

pub(super) fn cost(loaded: &Loaded) -> f64 {
    loaded.ns_per_packet
}

/// Adds a note if a server lost packets or was not the limit.
pub(super) fn note_load(server: &str, rounds: &[Loaded], measured: &mut Measured) {
    let limited = rounds
        .iter()
        .filter(|loaded| loaded.limited_by_generator)
        .count();
    if limited > 0 {
        measured.notes.push(format!(
            "{server}: the load was the limit in {limited} of {} rounds",
            rounds.len()
        ));
    }
    let lost = rounds
        .iter()
        .map(|loaded| loaded.loss_share)
        .fold(0.0, f64::max);
    if lost > NOTABLE_LOSS {
        measured.notes.push(format!(
            "{server}: up to {:.1} % of the packets were lost",
            lost * 100.0
        ));
    }
}

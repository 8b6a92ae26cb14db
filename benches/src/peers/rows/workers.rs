//! Several workers against one.

use super::packets::{cost, costs, note_load};
use super::{NS_PER_PACKET, Row};
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::limit::Limit;
use crate::harness::run::{Build, Run};
use crate::harness::server::{Kind, WorkersOn};
use crate::peers::baseline::Sides;
use crate::peers::case::Case;
use crate::peers::measure::{Loaded, measure_load};
use crate::peers::result::Measured;

/// Number of consecutive packets per tunnel, which makes many tunnels cheap for the load generator.
const TRAIN: u32 = 16;

pub(super) fn two_against_one(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let (one, two) = measure(run, 2, WorkersOn::OwnCpus)?;
    let mut cpu = compare(Row::Workers2, "2 workers", &one, &two, 1.05);
    note_load("2 workers", &two.new, &mut cpu);
    note_load("baseline", &two.baseline, &mut cpu);
    if run.baseline_only {
        return Ok(vec![cpu]);
    }

    let rates = |rounds: &[Loaded]| -> Vec<f64> {
        rounds
            .iter()
            .map(|loaded| loaded.delivered_pps / 1e3)
            .collect()
    };
    let mut rate = Measured::new(
        Row::Workers2.name(),
        "2 workers, delivered rate",
        "kpps",
        &rates(&two.new),
    );
    // Each worker and the load need a CPU.
    let load_allows = run.placement.usable.len() > 2;
    rate.compare(
        "1 worker",
        &rates(&two.new),
        &rates(&one),
        load_allows.then_some(Limit::AtLeast(1.9)),
    );
    if !load_allows {
        rate.notes.push(
            "no bound on the delivered rate: on 2 CPUs the load takes one of them".to_owned(),
        );
    }
    Ok(vec![cpu, rate])
}

pub(super) fn eight_against_one(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let (one, eight) = measure(run, 8, WorkersOn::AnyCpu)?;
    let mut cpu = compare(Row::Workers8, "8 workers, not pinned", &one, &eight, 1.15);
    note_load("8 workers", &eight.new, &mut cpu);
    note_load("baseline", &eight.baseline, &mut cpu);
    Ok(vec![cpu])
}

fn measure(
    run: &Run,
    workers: usize,
    workers_on: WorkersOn,
) -> Result<(Vec<Loaded>, Sides<Loaded>), BenchError> {
    let case = Case {
        train: TRAIN,
        ..Case::many_tunnels(100)
    };
    let several = |build| Kind::SnapgateWith {
        build,
        workers,
        workers_on,
    };
    let mut of_one = Vec::new();
    let mut of_several = Sides::new(run.has_baseline());
    for _ in 0..run.rounds {
        if !run.baseline_only {
            of_one.push(measure_load(run, &case, Kind::Snapgate(Build::New))?);
        }
        of_several.measure(|build| measure_load(run, &case, several(build)))?;
    }
    Ok((of_one, of_several))
}

fn compare(row: Row, case: &str, one: &[Loaded], several: &Sides<Loaded>, most: f64) -> Measured {
    let (one, several) = (costs(one), several.map(cost));
    let mut measured = Measured::new(row.name(), case, NS_PER_PACKET, &several.new);
    measured.compare("1 worker", &several.new, &one, Some(Limit::AtMost(most)));
    measured.compare_with_baseline(&several);
    measured
}

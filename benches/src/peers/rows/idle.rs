//! CPU time and memory of many idle tunnels.

use std::thread;
use std::time::Duration;

use snapload::{LoadConfig, Rate};

use super::Row;
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::limit::Limit;
use crate::harness::run::{Build, Run};
use crate::harness::server::{Kind, Server, Way};
use crate::peers::baseline::Sides;
use crate::peers::case::Case;
use crate::peers::result::Measured;

const TUNNELS: usize = 100_000;

/// Duration of the measurement of an idle gateway, in milliseconds.
const WATCHED_MS: u64 = 10_000;

/// Duration of the latency measurement of the active tunnel in a round, in milliseconds.
const ACTIVE_MS: u64 = 2_000;

/// Packets per second of the active tunnel.
const ACTIVE_PPS: f64 = 2_000.0;

const PERCENT_OF_A_CORE: &str = "% of a core";

const PERCENT_OF_A_CORE_MAX: f64 = 5.0;
const KIB_PER_TUNNEL_MAX: f64 = 12.0;

/// Persistent keepalive of released clients.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(10);

pub(super) fn measure(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let tunnels = run.many(TUNNELS);
    // CPU time and memory of many tunnels hardly vary, so they are measured once; the latency in every round. With a
    // baseline all of them are measured in every round.
    let (finds, trials) = match (run.has_baseline(), run.baseline_only) {
        (false, _) => (1, run.rounds),
        (true, false) => (run.rounds, 1),
        (true, true) => (run.rounds, 0),
    };
    let mut found = Sides::new(run.has_baseline());
    for _ in 0..finds {
        found.measure(|build| find(run, build, tunnels, trials))?;
    }
    let row = Row::Idle100k.name();
    let compared = |case: String, unit, figure: fn(&Found) -> f64| {
        let sides = found.map(figure);
        let mut measured = Measured::new(&row, case, unit, &sides.new);
        measured.compare_with_baseline(&sides);
        measured
    };
    let mut cpu = compared(
        format!("{tunnels} idle tunnels, CPU"),
        PERCENT_OF_A_CORE,
        |found| found.idle_percent,
    );
    cpu.limit = Some(PERCENT_OF_A_CORE_MAX);
    let mut memory = compared(
        format!("{tunnels} idle tunnels, memory"),
        "KiB/tunnel",
        |found| found.bytes_per_tunnel / 1024.0,
    );
    memory.limit = Some(KIB_PER_TUNNEL_MAX);
    let with_keepalives = compared(
        format!("{tunnels} tunnels with a keepalive every 10 s, CPU"),
        PERCENT_OF_A_CORE,
        |found| found.keepalive_percent,
    );
    if run.baseline_only {
        return Ok(vec![cpu, memory, with_keepalives]);
    }

    let of_all = |figure: fn(&Found) -> &Vec<f64>| -> Vec<f64> {
        found.new.iter().flat_map(figure).copied().collect()
    };
    let among_idle = of_all(|found| &found.p99_among_idle_us);
    let alone = of_all(|found| &found.p99_alone_us);
    let mut latency = Measured::new(
        row,
        format!("p99 of an echo among {tunnels} idle tunnels"),
        "µs",
        &among_idle,
    );
    latency.compare("1 tunnel", &among_idle, &alone, Some(Limit::AtMost(1.5)));
    Ok(vec![cpu, memory, latency, with_keepalives])
}

/// Measurements with many tunnels.
struct Found {
    idle_percent: f64,
    keepalive_percent: f64,
    bytes_per_tunnel: f64,
    /// Latency of one active tunnel, per trial.
    p99_alone_us: Vec<f64>,
    p99_among_idle_us: Vec<f64>,
}

/// Connects clients that send keepalives and then vanish. The gateway keeps their tunnels for minutes, so that it is
/// measured alone.
fn find(run: &Run, build: Build, tunnels: usize, trials: u32) -> Result<Found, BenchError> {
    let kind = Kind::Snapgate(build);
    let mut server = Server::start(run, kind, Way::Echo)?;
    let p99_alone_us = p99_of_one_us(run, kind, &mut server, trials)?;
    let resident_before = server.resident_bytes()?;

    let mut load = load_on(run, kind, &server, tunnels)?;
    load.keepalive = Some(CLIENT_KEEPALIVE);
    let watched = snapload::with_tunnels(&load, &mut |_| {}, |_| Ok(watch(run, &server)));
    let keepalive_percent = watched.map_err(|error| server.load_failed(error))??;

    let idle_percent = watch(run, &server)?;
    let resident = server.resident_bytes()?.saturating_sub(resident_before);
    Ok(Found {
        idle_percent,
        keepalive_percent,
        bytes_per_tunnel: resident as f64 / tunnels as f64,
        p99_alone_us,
        p99_among_idle_us: p99_of_one_us(run, kind, &mut server, trials)?,
    })
}

/// Returns the CPU time of the gateway without load, in percent of a core.
fn watch(run: &Run, server: &Server) -> Result<f64, BenchError> {
    let watched = run.time(WATCHED_MS);
    let before = server.clock.ns()?;
    thread::sleep(watched);
    let cpu_ns = server.clock.ns()? - before;
    Ok(cpu_ns as f64 / watched.as_nanos() as f64 * 100.0)
}

/// Returns the latency of a new tunnel, with packets at a low rate.
fn p99_of_one_us(
    run: &Run,
    kind: Kind,
    server: &mut Server,
    trials: u32,
) -> Result<Vec<f64>, BenchError> {
    let mut load = load_on(run, kind, server, 1)?;
    load.rate = Rate::PerSecond(ACTIVE_PPS);
    load.duration = run.time(ACTIVE_MS);
    load.warm_up = load.duration / 4;
    let p99s = snapload::with_tunnels(&load, &mut |_| {}, |generator| {
        (0..trials)
            .map(|_| Ok(generator.measure(&load.trial())?.latency.p99_ns as f64 / 1e3))
            .collect()
    });
    p99s.map_err(|error| server.load_failed(error))
}

fn load_on(
    run: &Run,
    kind: Kind,
    server: &Server,
    tunnels: usize,
) -> Result<LoadConfig, BenchError> {
    let case = Case {
        way: Way::Echo,
        ..Case::many_tunnels(tunnels)
    };
    case.load(run, kind, server)
}

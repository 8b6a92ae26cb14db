//! Many tunnels that carry nothing.

use std::thread;
use std::time::Duration;

use snapload::{Generator, LoadConfig, LoadError, Rate};

use super::Row;
use crate::peers::arguments::Run;
use crate::peers::case::Case;
use crate::peers::error::BenchError;
use crate::peers::measure::load_failed;
use crate::peers::result::{Bound, Measured};
use crate::peers::server::{Kind, Server, Way};

const TUNNELS: usize = 100_000;

/// How long the gateway is watched while nothing happens, in milliseconds.
const WATCHED_MS: u64 = 10_000;

/// How long the latency of the active tunnel is measured in a round, in milliseconds.
const ACTIVE_MS: u64 = 2_000;

/// Packets a second of the active tunnel.
const ACTIVE_PPS: f64 = 2_000.0;

const PERCENT_OF_A_CORE_MAX: f64 = 5.0;
const KIB_PER_TUNNEL_MAX: f64 = 12.0;

/// The persistent keepalive of today's clients.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(10);

pub(super) fn measure(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let tunnels = run.many(TUNNELS);
    let alone = p99_alone_us(run)?;
    let silent = with_idle_tunnels(run, tunnels, None)?;
    let row = Row::Idle100k.name();
    let mut cpu = Measured::new(
        row,
        format!("{tunnels} idle tunnels, CPU"),
        "% of a core",
        &[silent.percent_of_a_core],
    );
    cpu.limit = Some(PERCENT_OF_A_CORE_MAX);
    let mut memory = Measured::new(
        row,
        format!("{tunnels} idle tunnels, memory"),
        "KiB/tunnel",
        &[silent.bytes_per_tunnel / 1024.0],
    );
    memory.limit = Some(KIB_PER_TUNNEL_MAX);
    let mut latency = Measured::new(
        row,
        format!("p99 of an echo among {tunnels} idle tunnels"),
        "µs",
        &silent.p99_us,
    );
    latency.compare("1 tunnel", &silent.p99_us, &alone, Some(Bound::AtMost(1.5)));

    let kept_alive = with_idle_tunnels(run, tunnels, Some(CLIENT_KEEPALIVE))?;
    let with_keepalives = Measured::new(
        row,
        format!("{tunnels} tunnels with a keepalive every 10 s, CPU"),
        "% of a core",
        &[kept_alive.percent_of_a_core],
    );
    Ok(vec![cpu, memory, latency, with_keepalives])
}

/// What many tunnels cost when one of them is in use.
struct Found {
    percent_of_a_core: f64,
    bytes_per_tunnel: f64,
    /// Of the one that is in use, round by round.
    p99_us: Vec<f64>,
}

fn with_idle_tunnels(
    run: &Run,
    tunnels: usize,
    keepalive: Option<Duration>,
) -> Result<Found, BenchError> {
    let mut server = Server::start(run, Kind::Snapgate, Way::Echo)?;
    let resident_before = server.resident_bytes()?;
    let mut load = load_of_one(run, &server, tunnels)?;
    load.keepalive = keepalive;
    let watched = run.time(WATCHED_MS);
    let watch = || -> Result<(u64, u64), BenchError> {
        let before = server.clock.ns()?;
        thread::sleep(watched);
        let cpu_ns = server.clock.ns()? - before;
        Ok((cpu_ns, server.resident_bytes()?))
    };
    let measured = snapload::with_tunnels(&load, &mut |_| {}, |generator| {
        Ok((watch(), p99_us(run, generator)?))
    });
    let (watched_cost, p99_us) =
        measured.map_err(|error| load_failed(&mut server, Kind::Snapgate, error))?;
    let (cpu_ns, resident) = watched_cost?;
    Ok(Found {
        percent_of_a_core: cpu_ns as f64 / watched.as_nanos() as f64 * 100.0,
        bytes_per_tunnel: resident.saturating_sub(resident_before) as f64 / tunnels as f64,
        p99_us,
    })
}

fn p99_alone_us(run: &Run) -> Result<Vec<f64>, BenchError> {
    let mut server = Server::start(run, Kind::Snapgate, Way::Echo)?;
    let load = load_of_one(run, &server, 1)?;
    snapload::with_tunnels(&load, &mut |_| {}, |generator| p99_us(run, generator))
        .map_err(|error| load_failed(&mut server, Kind::Snapgate, error))
}

fn p99_us(run: &Run, generator: &mut Generator<'_>) -> Result<Vec<f64>, LoadError> {
    let trial = generator.config().trial();
    (0..run.rounds)
        .map(|_| Ok(generator.measure(&trial)?.latency.p99_ns as f64 / 1e3))
        .collect()
}

/// One tunnel of `tunnels` carries packets, at a rate that loads nothing.
fn load_of_one(run: &Run, server: &Server, tunnels: usize) -> Result<LoadConfig, BenchError> {
    let case = Case {
        way: Way::Echo,
        ..Case::many_tunnels(tunnels)
    };
    let mut load = case.load(run, Kind::Snapgate, server)?;
    load.active = Some(1);
    load.rate = Rate::PerSecond(ACTIVE_PPS);
    load.duration = run.time(ACTIVE_MS);
    load.warm_up = load.duration / 4;
    Ok(load)
}

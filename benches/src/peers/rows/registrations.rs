//! A gateway with a control plane: cost of a packet beside many registrations, registrations beside packets, and the
//! start with stored registrations.

use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use snapload::{Direction, LatencySummary, LoadConfig, LoadError, PacketSizes, Rate, Report};

use super::{NS_PER_PACKET, Row};
use crate::harness::entry::Entry as _;
use crate::harness::error::BenchError;
use crate::harness::limit::Limit;
use crate::harness::registrations::ControlPlane;
use crate::harness::run::{Build, Run};
use crate::harness::server::{Kind, Server, Way};
use crate::peers::case::Case;
use crate::peers::measure::{measure_load, measure_load_on};
use crate::peers::result::Measured;

/// Number of stored registrations; the default of `--max-registrations`.
const STORED: usize = 100_000;

/// Number of registrations that are made in a row, and that end at once.
const IN_A_ROW: usize = 10_000;

const TUNNELS: usize = 100;

const ROUND_TRIPS_PER_SECOND: f64 = 20_000.0;

/// Duration of the round trips. They begin before the registrations, and end after them.
const BESIDE: Duration = Duration::from_secs(12);

/// Time from the start of the round trips to their measurement, and from there to the registrations.
const WARM_UP: Duration = Duration::from_secs(1);

/// Time from storing registrations to their end, in seconds. The round trips begin before.
const ENDS_AFTER_S: i64 = 6;

/// Time in which ended registrations are removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(3);

const KIND: Kind = Kind::Snapgate(Build::New);

const RATIO_MAX: Limit = Limit::AtMost(1.03);
const P50_US_MAX: f64 = 2_000.0;

/// Figures of a round.
struct Round {
    /// CPU time per packet in nanoseconds, with any identity and with registrations.
    ns_per_packet: [f64; 2],
    /// Time of each registration, sorted.
    registration_us: Vec<f64>,
    /// Round trips without registrations, beside new ones, and while registrations end.
    alone: Report,
    beside_new: Report,
    beside_ended: Report,
    /// Start without and with stored registrations, in milliseconds.
    start_ms: [f64; 2],
    /// Resident memory of a stored registration, in bytes, and of all that were made in a row, in MiB.
    stored_bytes: f64,
    resident_mib: [f64; 2],
}

/// Chooses a report of a round.
type ReportOf = fn(&Round) -> &Report;

pub(super) fn measure(run: &Run) -> Result<Vec<Measured>, BenchError> {
    let rounds: Vec<Round> = (0..run.rounds)
        .map(|round| Round::measure(run, round))
        .collect::<Result<_, _>>()?;
    let of = |figure: &dyn Fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(figure).collect() };
    let row = Row::Registrations.name();
    let new = |case: String, unit, values: &[f64]| Measured::new(&row, case, unit, values);
    let (stored, in_a_row) = (run.many(STORED), run.many(IN_A_ROW));

    let ours = of(&|round| round.ns_per_packet[1]);
    let case = format!("{stored} registrations, {}", case().name());
    let mut cost = new(case, NS_PER_PACKET, &ours);
    let any = of(&|round| round.ns_per_packet[0]);
    cost.compare("any identity", &ours, &any, Some(RATIO_MAX));

    let quantile = |share: f64| of(&|round| quantile(&round.registration_us, share));
    let case = format!("{in_a_row} registrations in a row, p50");
    let mut p50 = new(case, "µs", &quantile(0.5));
    p50.limit = Some(P50_US_MAX);
    let p99 = new("the same, p99".to_owned(), "µs", &quantile(0.99));
    let resident = of(&|round| round.resident_mib[1]);
    let mut memory = new("the same, resident memory".to_owned(), "MiB", &resident);
    let before = of(&|round| round.resident_mib[0]);
    memory.compare("before", &resident, &before, None);

    let mut lines = vec![cost, p50, p99, memory];
    let trips = format!("{TUNNELS} tunnels, {ROUND_TRIPS_PER_SECOND} round trips/s");
    let alone = of(&|round| p99_us(&round.alone.latency));
    let beside: [(&str, ReportOf); 2] = [
        ("beside new registrations", |round| &round.beside_new),
        ("while registrations end", |round| &round.beside_ended),
    ];
    for (when, report) in beside {
        let values = of(&|round| report(round).lost as f64);
        let mut lost = new(format!("{trips}, lost {when}"), "packets", &values);
        lost.limit = Some(0.0);
        let values = of(&|round| p99_us(&report(round).latency));
        let mut p99 = new(format!("the same, p99 {when}"), "µs", &values);
        p99.compare("alone", &values, &alone, None);
        lines.extend([lost, p99]);
    }

    let start = of(&|round| round.start_ms[1]);
    let case = format!("start with {stored} stored registrations");
    let mut start_time = new(case, "ms", &start);
    let without = of(&|round| round.start_ms[0]);
    start_time.compare("without", &start, &without, None);
    let bytes = of(&|round| round.stored_bytes);
    lines.extend([
        start_time,
        new(
            "memory of a stored registration".to_owned(),
            "bytes",
            &bytes,
        ),
    ]);
    Ok(lines)
}

impl Round {
    fn measure(run: &Run, round: u32) -> Result<Self, BenchError> {
        let case = case();
        let empty = Snap::start(run, 0, Timestamp::now())?;
        let empty_start = empty.start;
        let empty_bytes = empty.server.resident_bytes()?;
        let alone = empty.beside_round_trips(run, |_| Ok(()))?.1;

        let (mut any, mut stored) = (0.0, None);
        // Odd rounds begin with registrations, so that the advantage of a position cancels.
        for with_registrations in [!round.is_multiple_of(2), round.is_multiple_of(2)] {
            if with_registrations {
                stored = Some(Stored::measure(run, &case)?);
            } else {
                any = measure_load(run, &case, KIND)?.ns_per_packet;
            }
        }
        let stored = stored.ok_or(BenchError::NothingDelivered {
            server: KIND.name(),
        })?;

        let in_a_row = run.many(IN_A_ROW);
        let snap = Snap::start(run, 0, Timestamp::now())?;
        let before = snap.server.resident_bytes()?;
        let ((mut registration_us, after), beside_new) = snap.beside_round_trips(run, |snap| {
            let mut client = snap.control_plane.connect()?;
            let us = numbered(in_a_row)
                .map(|identity| Ok(client.register(&identity)?.as_secs_f64() * 1e6))
                .collect::<Result<Vec<f64>, BenchError>>()?;
            Ok((us, snap.server.resident_bytes()?))
        })?;
        registration_us.sort_by(f64::total_cmp);

        let end = Timestamp::now() + SignedDuration::from_secs(ENDS_AFTER_S);
        let snap = Snap::start(run, in_a_row, end)?;
        let ((), beside_ended) = snap.beside_round_trips(run, |snap| snap.wait_for_the_end(end))?;

        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Ok(Self {
            ns_per_packet: [any, stored.ns_per_packet],
            registration_us,
            alone,
            beside_new,
            beside_ended,
            start_ms: [ms(empty_start), ms(stored.start)],
            stored_bytes: stored.resident_bytes.saturating_sub(empty_bytes) as f64
                / run.many(STORED) as f64,
            resident_mib: [mib(before), mib(after)],
        })
    }
}

/// Measurements with stored registrations.
struct Stored {
    start: Duration,
    resident_bytes: u64,
    ns_per_packet: f64,
}

impl Stored {
    fn measure(run: &Run, case: &Case) -> Result<Self, BenchError> {
        // One is left for the tunnel.
        let end = Timestamp::now() + SignedDuration::from_hours(1);
        let mut snap = Snap::start(run, run.many(STORED) - case.tunnels, end)?;
        let resident_bytes = snap.server.resident_bytes()?;
        snap.register(&case.load(run, KIND, &snap.server)?)?;
        Ok(Self {
            start: snap.start,
            resident_bytes,
            ns_per_packet: measure_load_on(run, case, KIND, &mut snap.server)?.ns_per_packet,
        })
    }
}

/// A gateway with a control plane.
struct Snap {
    control_plane: ControlPlane,
    server: Server,
    /// Time from the start of the process until it was ready.
    start: Duration,
}

impl Snap {
    /// Starts a gateway with stored registrations, which end at `end`.
    fn start(run: &Run, stored: usize, end: Timestamp) -> Result<Self, BenchError> {
        let control_plane = Server::control_plane()?;
        control_plane.store(numbered(stored), end)?;
        let started = Instant::now();
        let server = Server::start_with_control_plane(run, &control_plane, Way::Forward)?;
        Ok(Self {
            start: started.elapsed(),
            control_plane,
            server,
        })
    }

    /// Registers the identities of a load.
    fn register(&self, load: &LoadConfig) -> Result<(), BenchError> {
        let mut client = self.control_plane.connect()?;
        for identity in load.identities.public_keys() {
            client.register(&identity)?;
        }
        Ok(())
    }

    /// Waits until the registrations that end at `end` were removed, which must not be over yet.
    fn wait_for_the_end(&self, end: Timestamp) -> Result<(), BenchError> {
        let failed = |text: &str| BenchError::Registrations(text.to_owned());
        let remaining = Duration::try_from(end - Timestamp::now())
            .map_err(|_| failed("they ended before the round trips began"))?;
        thread::sleep(remaining + REMOVED_WITHIN);
        let left = format!("snapgate_control_registrations {TUNNELS}");
        let metrics = self.server.scrape()?;
        let is_over = metrics.lines().any(|line| line == left);
        is_over
            .then_some(())
            .ok_or_else(|| failed("they were not removed in time"))
    }

    /// Calls `work` a second after round trips have begun.
    fn beside_round_trips<T: Send>(
        mut self,
        run: &Run,
        work: impl FnOnce(&Self) -> Result<T, BenchError> + Send,
    ) -> Result<(T, Report), BenchError> {
        let mut load = Case::many_tunnels(TUNNELS).load(run, KIND, &self.server)?;
        // Between tunnels of the gateway, here from each tunnel to itself.
        load.direction = Direction::Echo;
        load.rate = Rate::PerSecond(ROUND_TRIPS_PER_SECOND);
        load.duration = BESIDE;
        load.warm_up = WARM_UP;
        self.register(&load)?;
        let snap = &self;
        let measured = snapload::with_tunnels(&load, &mut |_| {}, |generator| {
            thread::scope(|scope| {
                let work = scope.spawn(|| {
                    thread::sleep(2 * WARM_UP);
                    work(snap)
                });
                let report = generator.measure(&load.trial())?;
                Ok::<_, LoadError>((work.join(), report))
            })
        });
        let (work, report) = measured.map_err(|error| self.server.load_failed(error))?;
        match work {
            Ok(result) => Ok((result?, report)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn case() -> Case {
    Case::one_tunnel(Way::Forward, PacketSizes::Fixed(1400))
}

/// Returns different identities that belong to no tunnel.
fn numbered(count: usize) -> impl Iterator<Item = [u8; 32]> {
    (0..count as u64).map(|number| {
        let mut identity = [0x5a; 32];
        identity[..8].copy_from_slice(&number.to_le_bytes());
        identity
    })
}

/// Returns a quantile of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

fn p99_us(latency: &LatencySummary) -> f64 {
    latency.p99_ns as f64 / 1e3
}

//! Command `simulate`: see `simulate --help`.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use snaptun_simulation::{Coverage, Failure, Line, Outcome, simulate};

/// Simulates hours of a gateway's shards and their clients under seeded faults, and checks invariants after every
/// event.
///
/// Exit codes: 0 all invariants held; 1 an invariant was violated, and the seed is printed; 2 wrong usage; 3 all
/// invariants held, but coverage was incomplete (--complete).
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// First seed
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// Number of seeds
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seeds: u64,
    /// Minutes of virtual time per seed
    #[arg(long, default_value_t = 60, value_name = "MINUTES")]
    minutes: u64,
    /// Number of threads; by default one per CPU
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
    /// Print every event; runs one seed at a time
    #[arg(long)]
    trace: bool,
    /// Fail unless the seeds together cover every drop reason and every way in which a tunnel ends
    #[arg(long)]
    complete: bool,
}

/// Results of all seeds.
#[derive(Default)]
struct Total {
    seeds: u64,
    steps: u64,
    /// Sum over all seeds, independent of their order.
    digest: u64,
    coverage: Coverage,
    failure: Option<Box<Failure>>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let total = if arguments.trace {
        simulate_and_print(&arguments)
    } else {
        simulate_all(&arguments)
    };
    match report(&arguments, &total, started.elapsed()) {
        Ok(code) => code,
        // Output is not readable any more; the exit code still tells the result.
        Err(_) if total.failure.is_some() => ExitCode::from(1),
        Err(_) => ExitCode::SUCCESS,
    }
}

impl Arguments {
    fn length(&self) -> Duration {
        Duration::from_secs(60 * self.minutes)
    }

    fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed.saturating_add(self.seeds)
    }
}

impl Total {
    /// Adds the result of a seed. Returns false to stop.
    fn add(&mut self, outcome: Result<Outcome, Box<Failure>>) -> bool {
        match outcome {
            Ok(outcome) => {
                self.seeds += 1;
                self.steps += outcome.steps;
                self.digest = self.digest.wrapping_add(outcome.digest);
                self.coverage.add(&outcome.coverage);
            }
            Err(failure) => {
                // The lowest seed, so that the same command reports the same failure.
                let earlier = self.failure.as_ref().map(|earlier| earlier.seed);
                if earlier.is_none_or(|earlier| failure.seed < earlier) {
                    self.failure = Some(failure);
                }
            }
        }
        self.failure.is_none()
    }
}

fn simulate_and_print(arguments: &Arguments) -> Total {
    let mut total = Total::default();
    let mut out = io::BufWriter::new(io::stdout());
    for seed in arguments.seeds() {
        let mut print = |line: &Line| {
            // A closed pipe means that the reader has seen enough.
            let _ = writeln!(out, "{line}");
        };
        if !total.add(simulate(seed, arguments.length(), Some(&mut print))) {
            break;
        }
    }
    total
}

fn simulate_all(arguments: &Arguments) -> Total {
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(arguments.seed);
    let threads = arguments
        .threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !arguments.seeds().contains(&seed) {
                        return;
                    }
                    let outcome = simulate(seed, arguments.length(), None);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    if !total.add(outcome) {
                        // Seeds already started run to the end: one of them may be a lower failure.
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn report(arguments: &Arguments, total: &Total, time: Duration) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if let Some(failure) = &total.failure {
        writeln!(out, "{failure}")?;
        writeln!(
            out,
            "again: cargo run --manifest-path crates/mock-clock/Cargo.toml -p snaptun-simulation -- \
             --seed {} --minutes {} --trace",
            failure.seed, arguments.minutes
        )?;
        return Ok(ExitCode::from(1));
    }
    write!(out, "{}", total.coverage)?;
    writeln!(
        out,
        "{} seeds of {} minutes held in {:.1} s: {} events, digest {:016x}",
        total.seeds,
        arguments.minutes,
        time.as_secs_f64(),
        total.steps,
        total.digest
    )?;
    let missing = total.coverage.missing();
    if arguments.complete && !missing.is_empty() {
        writeln!(out, "not covered: {}", missing.join(", "))?;
        return Ok(ExitCode::from(3));
    }
    Ok(ExitCode::SUCCESS)
}

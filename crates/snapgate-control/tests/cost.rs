//! Cost of registrations. Run it with
//!
//! ```text
//! cargo test --release -p snapgate-control --test cost -- --ignored --nocapture
//! ```
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]
#![expect(clippy::print_stdout, reason = "the figures")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use snapgate_control::registry::{Filter, Registry, RegistrySettings};
use snapgate_control::{Claims, GrantChange, Grants, Identity, Pssid, TokenId};
use tempfile::TempDir;

const MANY: u32 = 100_000;

/// The cost of the data plane is not part of the figures.
struct NoDataPlane;

impl Grants for NoDataPlane {
    fn apply(&self, _changes: &[GrantChange]) {}
}

fn at(seconds: u32) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds.into())
}

/// Returns an identity; they are spread like public keys.
fn key(number: u32) -> Identity {
    let mut identity = [0x55; 32];
    identity[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    identity
}

/// Claims with ids as long as those of real tokens.
fn claims(number: u32, expires: u32) -> Claims {
    Claims {
        pssid: Pssid(format!("pssid-{number:030x}").into()),
        token: TokenId(format!("token-{number:030x}").into()),
        expires: at(expires),
    }
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registrations");
    (directory, file)
}

fn open(file: &Path) -> Registry {
    let settings = RegistrySettings {
        file: Some(file.to_owned()),
        max_registrations: 10 * MANY as usize,
        ..RegistrySettings::default()
    };
    Registry::open(settings, Arc::new(NoDataPlane), at(0)).unwrap()
}

fn register(registry: &Registry, number: u32, expires: u32) -> Duration {
    let claims = claims(number, expires);
    let start = Instant::now();
    registry.register(&claims, key(number), at(0)).unwrap();
    start.elapsed()
}

/// Returns the bytes that the process has passed to write(2).
fn bytes_written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

/// Returns the resident memory of the process in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{name}: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?}",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0)
    );
}

/// Calls `expire` once a second, as a gateway does, while `body` runs.
fn with_timer<T>(registry: &Registry, body: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let timer = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                registry.expire(at(0));
                thread::park_timeout(Duration::from_secs(1));
            }
        });
        let result = body();
        is_over.store(true, Ordering::Relaxed);
        timer.thread().unpark();
        result
    })
}

#[test]
#[ignore = "a measurement"]
fn one_at_a_time() {
    let (_directory, file) = directory();
    let registry = open(&file);
    let written = bytes_written();
    let start = Instant::now();
    let times: Vec<_> = with_timer(&registry, || {
        (0..MANY)
            .map(|number| register(&registry, number, 100))
            .collect()
    });
    let took = start.elapsed();
    print("registration, one at a time", times);
    println!(
        "{MANY} in {took:.2?}: {:.0}/s",
        f64::from(MANY) / took.as_secs_f64()
    );
    let bytes = (bytes_written() - written) as f64 / f64::from(MANY);
    println!("bytes written per registration: {bytes:.0}");

    // A pace at which the timer syncs the file many times.
    let times = with_timer(&registry, || {
        let paced = |number| {
            thread::sleep(Duration::from_millis(1));
            register(&registry, number, 100)
        };
        (MANY..MANY + 10_000).map(paced).collect()
    });
    print("registration, 1000 a second", times);

    // Renewals.
    let written = bytes_written();
    let times = with_timer(&registry, || {
        let renew = |number| {
            let mut claims = claims(number, 200);
            claims.token = TokenId(format!("renew-{number:030x}").into());
            let start = Instant::now();
            registry.register(&claims, key(number), at(0)).unwrap();
            start.elapsed()
        };
        (0..MANY).map(renew).collect()
    });
    print("renewal, one at a time", times);
    let bytes = (bytes_written() - written) as f64 / f64::from(MANY);
    println!("bytes written per renewal: {bytes:.0}");
}

#[test]
#[ignore = "a measurement"]
fn many_threads() {
    for threads in [1, 8, 64] {
        let (_directory, file) = directory();
        let registry = open(&file);
        let next = AtomicU32::new(0);
        let start = Instant::now();
        let times: Vec<Vec<Duration>> = with_timer(&registry, || {
            let work = || {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= MANY {
                        return times;
                    }
                    times.push(register(&registry, number, 100));
                }
            };
            thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                workers.into_iter().map(|one| one.join().unwrap()).collect()
            })
        });
        let took = start.elapsed();
        let rate = f64::from(MANY) / took.as_secs_f64();
        let batch = f64::from(MANY) / registry.counts().commits as f64;
        println!("{threads} threads: {rate:.0}/s, {batch:.1} per commit");
        print("registration", times.concat());
    }
}

#[test]
#[ignore = "a measurement"]
fn start_memory_and_end() {
    let (_directory, file) = directory();
    let registry = open(&file);
    for number in 0..MANY {
        let expires = match number {
            ..10_000 => 100,
            10_000..20_000 => 200,
            _ => 1000,
        };
        register(&registry, number, expires);
    }
    drop(registry);
    // In a fresh process, memory of the first registry is not reused.
    let before = resident();
    let start = Instant::now();
    let registry = open(&file);
    println!("start with {MANY}: {:.1?}", start.elapsed());
    println!(
        "size of the file: {} bytes",
        fs::metadata(&file).unwrap().len()
    );
    println!("resident before and after: {before} and {}", resident());

    // The file is on disk before the measurement.
    registry.expire(at(0));
    let start = Instant::now();
    registry.expire(at(100));
    println!("end of 10,000 at once: {:.1?}", start.elapsed());

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut times = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                registry.get(&key(50_000)).unwrap();
                times.push(start.elapsed());
            }
            times
        });
        let writer = scope.spawn(|| {
            let mut times = Vec::new();
            for number in MANY.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                times.push(register(&registry, number, 1000));
            }
            times
        });
        let start = Instant::now();
        registry.expire(at(200));
        println!(
            "end of 10,000 under load, with a sync: {:.1?}",
            start.elapsed()
        );
        is_over.store(true, Ordering::Relaxed);
        print("reading meanwhile", reader.join().unwrap());
        print("registration meanwhile", writer.join().unwrap());
    });
    let start = Instant::now();
    let page = registry.list(None, 1000, &Filter::default());
    assert_eq!(page.registrations.len(), 1000);
    println!("page of 1000: {:.1?}", start.elapsed());
}

/// Run by itself, for the memory of a process that only loads.
#[test]
#[ignore = "a measurement"]
fn memory() {
    let Some(file) = std::env::var_os("SNAPGATE_COST_FILE").map(PathBuf::from) else {
        println!("set SNAPGATE_COST_FILE; the first run creates it");
        return;
    };
    let before = resident();
    let start = Instant::now();
    let registry = open(&file);
    let loaded = registry.sizes().registrations;
    if loaded == 0 {
        for number in 0..MANY {
            register(&registry, number, 100);
        }
        return;
    }
    println!("start with {loaded}: {:.1?}", start.elapsed());
    let bytes = (resident() - before) as f64 / loaded as f64;
    println!("memory per registration: {bytes:.0} bytes");
}

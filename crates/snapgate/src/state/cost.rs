//! Cost of the state directory for a gateway with 100,000 tunnels: bytes written, CPU time, and the number of tunnels
//! lost by `kill -9`. Run it with
//!
//! ```text
//! cargo test --release -p snapgate --lib state::cost -- --ignored --nocapture
//! ```

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use snaptun::DirectoryChange;

use crate::state::clock::Reading;
use crate::state::files::LocalFiles;
use crate::state::format::Record;
use crate::state::store::Store;
use crate::state::writer::DirectoryFeed;

const TUNNELS: u32 = 100_000;

/// Interval between two records of a tunnel that stays (`DirectoryChange::REFRESH` of `snaptun`), in seconds.
const REFRESH: u32 = 60;

const SECONDS: u32 = 600;

fn reading(second: u32) -> Reading {
    Reading {
        boot: [1; 16],
        boottime: Duration::from_secs(10_000 + u64::from(second)),
        wall: Duration::from_secs(1_000_000 + u64::from(second)),
    }
}

fn see(store: &mut Store, tunnel: u32, second: u32) {
    let record = Record {
        identity: [tunnel as u8; 32],
        heard_at: reading(second).boottime,
    };
    store.insert(remote(tunnel), record);
}

fn remote(tunnel: u32) -> SocketAddr {
    SocketAddr::from((tunnel.to_be_bytes(), 40_000))
}

/// Returns the CPU time of the calling thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Returns the number of bytes that the calling thread has passed to write(2).
fn bytes_written() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

/// Measures ten minutes with `changes` tunnels per second, half of them created and half removed.
fn measure(changes: u32) {
    let directory = tempfile::tempdir().unwrap();
    let records_max = TUNNELS as usize + SECONDS as usize * changes as usize;
    let mut store = Store::open(
        directory.path(),
        LocalFiles::open,
        &[7; 32],
        records_max,
        &reading(0),
    )
    .unwrap();
    (0..TUNNELS).for_each(|tunnel| see(&mut store, tunnel, 0));
    store.commit(&reading(0)).unwrap();

    let (bytes, cpu) = (bytes_written(), cpu_time());
    let mut commits = 0;
    let mut longest = Duration::ZERO;
    // Tunnels missing in the file at the end of each second.
    let mut unknown = 0;
    let (mut unknown_sum, mut unknown_max) = (0, 0);
    let mut live = 0..TUNNELS;
    for second in 1..=SECONDS {
        let before = cpu_time();
        for tunnel in live
            .clone()
            .filter(|tunnel| tunnel % REFRESH == second % REFRESH)
        {
            see(&mut store, tunnel, second);
        }
        for _ in 0..changes / 2 {
            see(&mut store, live.end, second);
            store.remove(remote(live.start));
            live = live.start + 1..live.end + 1;
        }
        unknown += changes / 2;
        unknown_sum += unknown;
        unknown_max = unknown_max.max(unknown);
        if store.is_due(&reading(second)) {
            store.commit(&reading(second)).unwrap();
            commits += 1;
            unknown = 0;
        }
        longest = longest.max(cpu_time() - before);
    }
    let minutes = f64::from(SECONDS) / 60.0;
    let cpu = cpu_time() - cpu;
    println!(
        "{changes} changes/s: {:.1} MB/min in {:.1} writes/min; CPU {:.1} ms/s, {longest:.1?} at most at once; \
         unknown after kill -9: {} tunnels (mean), {unknown_max} (max)",
        (bytes_written() - bytes) as f64 / 1e6 / minutes,
        f64::from(commits) / minutes,
        cpu.as_secs_f64() * 1e3 / f64::from(SECONDS),
        unknown_sum / SECONDS,
    );
}

#[test]
#[ignore = "a benchmark"]
fn files() {
    [100, 1000].into_iter().for_each(measure);
}

#[test]
#[ignore = "a benchmark"]
fn turns() {
    const CHANGES: u32 = 8000;
    let (feed, changes) = DirectoryFeed::channel();
    let mut told = Duration::ZERO;
    for _ in 0..100 {
        let before = cpu_time();
        for tunnel in 0..CHANGES {
            if feed.has_room() {
                feed.tell(DirectoryChange::Gone {
                    remote: remote(tunnel),
                });
            }
        }
        told += cpu_time() - before;
        assert_eq!(changes.try_iter().count(), CHANGES as usize);
    }
    println!(
        "CPU time of a worker for a change: {:?}",
        told / (100 * CHANGES)
    );
}

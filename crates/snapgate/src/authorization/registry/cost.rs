//! Cost of the registry with 100,000 registrations: CPU time of a look-up and of a change, and memory. Run it with
//!
//! ```text
//! cargo test --release -p snapgate --lib registry::cost -- --ignored --nocapture
//! ```

use std::fs;

use blake2::{Blake2s256, Digest as _};
use rustix::time::ClockId;

use super::*;
use crate::kernel_clock;

const REGISTRATIONS: u32 = 100_000;

/// Changes measured one after the other.
const CHANGES: u32 = 10_000;

/// Returns a key that looks random, as those of clients.
fn key(n: u32) -> Key {
    Blake2s256::digest(n.to_le_bytes()).into()
}

fn change(n: u32, expires: Timestamp) -> RegistrationChange {
    RegistrationChange {
        identity: key(n),
        registered: Some(Registered {
            expires,
            registration: Arc::new(Registration {
                pssid: "ef16640f-0fa9-4360-be74-dbeec7ab4f9a".into(),
                token_id: format!("{n:036}").into(),
            }),
        }),
    }
}

/// Returns the CPU time of the calling thread.
fn cpu_time() -> Duration {
    kernel_clock::read(ClockId::ThreadCPUTime)
}

/// Returns the resident memory of the process in bytes.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

#[test]
#[ignore = "a benchmark"]
fn registrations() {
    let expires = Timestamp::now() + Duration::from_secs(3600);
    let later = expires + Duration::from_secs(3600);
    let before = resident_bytes();
    let registry = Registry::new(&[]);
    let empty = resident_bytes();
    let start = cpu_time();
    for n in 0..REGISTRATIONS {
        registry.apply(&[change(n, expires)]);
    }
    println!(
        "empty: {} bytes; {REGISTRATIONS} registrations: {:?} each, {} bytes each, with their tokens",
        empty - before,
        (cpu_time() - start) / REGISTRATIONS,
        (resident_bytes() - empty) / u64::from(REGISTRATIONS),
    );

    let renewals: Vec<_> = (0..CHANGES).map(|n| [change(n * 7, later)]).collect();
    let start = cpu_time();
    renewals.iter().for_each(|renewal| registry.apply(renewal));
    println!("renewal: {:?}", (cpu_time() - start) / CHANGES);

    // Spread over the table, so that each look-up misses the cache as in a gateway.
    let keys: Vec<_> = (0..REGISTRATIONS)
        .map(|n| key(n.wrapping_mul(61_681) % REGISTRATIONS))
        .collect();
    let now = Instant::now();
    let start = cpu_time();
    let found = keys.iter().filter(|key| registry.grant(now, key).is_some());
    assert_eq!(found.count(), REGISTRATIONS as usize);
    println!("look-up: {:?}", (cpu_time() - start) / REGISTRATIONS);

    let start = cpu_time();
    let removals: Vec<_> = (0..REGISTRATIONS)
        .map(|n| RegistrationChange {
            identity: key(n),
            registered: None,
        })
        .collect();
    registry.apply(&removals);
    println!("removal of all at once: {:?}", cpu_time() - start);
    assert_eq!(registry.status().registered, 0);
}

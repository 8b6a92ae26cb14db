//! A process that is killed while it registers clients. The test starts itself as that process.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use jiff::{SignedDuration, Timestamp};
use snapgate_control::registry::{Refusal, Registry, RegistrySettings, Selector};
use snapgate_control::{Claims, GrantChange, Grants, Identity, Pssid, TokenId};

/// Path of the file, in the environment of the process that is killed.
const FILE: &str = "SNAPGATE_TEST_REGISTRATIONS";

/// First number that is registered, in the environment of the process that is killed.
const FIRST: &str = "SNAPGATE_TEST_FIRST";

const THREADS: u64 = 4;

/// Outdated records per registration, so that the file is rewritten all the time.
const OUTDATED: u64 = 20;

struct NoDataPlane;

impl Grants for NoDataPlane {
    fn apply(&self, _changes: &[GrantChange]) {}
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds as i64)
}

fn open(file: &Path) -> Registry {
    let settings = RegistrySettings {
        file: Some(file.to_owned()),
        max_registrations: 10_000_000,
        max_per_pssid: 16,
    };
    Registry::open(settings, Arc::new(NoDataPlane), at(0)).unwrap()
}

fn identity(number: u64) -> Identity {
    let mut identity = [0x55; 32];
    identity[..8].copy_from_slice(&number.to_be_bytes());
    identity
}

fn claims(token: &str, expires: Timestamp) -> Claims {
    Claims {
        pssid: Pssid(token.into()),
        token: TokenId(token.into()),
        expires,
    }
}

/// Claims of the token that a number is registered with.
fn claims_of(number: u64) -> Claims {
    claims(&format!("{number}"), at(1_000_000))
}

fn selector_of(number: u64) -> Selector {
    Selector::Identity(identity(number))
}

/// The process that is killed: registers, revokes and rewrites the file as fast as it can, and prints what was answered.
#[test]
#[ignore = "started by the other test"]
fn register_until_killed() {
    let Some(file) = env::var_os(FILE) else {
        panic!("{FILE} is not set");
    };
    let first: u64 = env::var(FIRST).unwrap().parse().unwrap();
    let registry = open(Path::new(&file));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let registry = &registry;
            scope.spawn(move || {
                for number in (first + thread..).step_by(THREADS as usize) {
                    registry
                        .register(&claims_of(number), identity(number), at(0))
                        .unwrap();
                    println!("registered {number} ");
                    if number % 50 == 7 {
                        registry
                            .revoke(&selector_of(number), Some(at(900_000)), at(0))
                            .unwrap();
                        println!("revoked {number} ");
                    }
                    for round in 0..OUTDATED {
                        let end = at(2_000_000 + OUTDATED * number + round);
                        let _later = registry.register(&claims("outdated", end), [1; 32], at(0));
                    }
                }
            });
        }
        scope.spawn(|| {
            loop {
                registry.expire(at(0));
            }
        });
    });
}

fn start(file: &Path, first: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "register_until_killed",
            "--nocapture",
        ])
        .env(FILE, file)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Answers of a process, by their lines.
#[derive(Default)]
struct Answers {
    registered: Vec<u64>,
    revoked: Vec<u64>,
}

impl Answers {
    /// Reads lines, and kills the process after a number of them. What it printed before it ended is read as well.
    fn read_and_kill(&mut self, child: &mut Child, lines: usize) {
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut left = lines;
        for line in output.lines() {
            self.add(&line.unwrap());
            if left == 0 {
                continue;
            }
            left -= 1;
            if left == 0 {
                child.kill().unwrap();
            }
        }
        assert_eq!(left, 0, "the process ended by itself");
        child.wait().unwrap();
    }

    fn add(&mut self, line: &str) {
        // The last line may be incomplete; a complete number is followed by a space.
        let mut words = line.split_inclusive(' ');
        let (Some(word), Some(number)) = (words.next(), words.next()) else {
            return;
        };
        let Some(Ok(number)) = number.strip_suffix(' ').map(str::parse) else {
            return;
        };
        match word {
            "registered " => self.registered.push(number),
            "revoked " => self.revoked.push(number),
            _ => {}
        }
    }
}

#[test]
fn everything_that_was_answered_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registrations");
    let mut answers = Answers::default();
    for round in 0..6 {
        let mut child = start(&file, round * 1_000_000);
        answers.read_and_kill(&mut child, 300 + 777 * round as usize);
        let registry = open(&file);
        for number in &answers.revoked {
            let result = registry.register(&claims_of(*number), identity(*number), at(0));
            assert_eq!(result, Err(Refusal::IdentityRevoked), "{number}");
        }
        for number in &answers.registered {
            let registration = registry.get(&identity(*number));
            if answers.revoked.contains(number) {
                assert_eq!(registration, None, "{number}");
                continue;
            }
            // The process may have been killed between the revocation and its answer.
            let Some(registration) = registration else {
                let revocations = registry.revocations(Some(&selector_of(*number - 1)), 1);
                assert_eq!(
                    revocations[0].selector,
                    selector_of(*number),
                    "{number} is lost"
                );
                continue;
            };
            assert_eq!(registration.grant.token, claims_of(*number).token);
        }
    }
    assert!(answers.registered.len() > 2000 && answers.revoked.len() > 10);
}

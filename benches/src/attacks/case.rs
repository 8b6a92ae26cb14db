//! One case: tunnels, a newcomer, and an attack.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use snapload::{Cpus, Identities, LoadConfig, LoadError, Rate, Report, Trial};
use snaptun::{PublicKey, StaticSecret};
use tempfile::NamedTempFile;

use super::attack::Attack;
use super::attacker::{self, Tally};
use super::counters::Counters;
use crate::gateway_key;
use crate::peers::arguments::Run;
use crate::peers::baseline::Build;
use crate::peers::error::BenchError;
use crate::peers::server::{Kind, Server};

/// Tunnels in use.
pub(crate) const TUNNELS: usize = 100;

/// Round trips a second of all together.
const ROUND_TRIPS_PER_SECOND: f64 = 20_000.0;

/// How many packets of a tunnel are sent back to back. The load waits for the next in a loop when it is due
/// within 60 µs, so with single packets it would leave nothing of its CPU to the attacker.
const TRAIN: u32 = 4;

/// Where the tunnels and the newcomer come from; all of it is this host's own.
const TUNNEL_IPS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 64, 0, 0), 16));
const NEWCOMER_IP: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 96, 0, 1), 32));

/// How long the tunnels carry packets before the memory is looked at: buffers have their size by then.
const SETTLING: Duration = Duration::from_secs(1);

/// How long the attack is on before packets are counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// The gateway asks the kernel what it dropped twice a second.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// How long the newcomer tries.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(10);

/// What is in the keys of everyone who is authorized.
const TUNNEL_SEED: u64 = 41;
const NEWCOMER_SEED: u64 = 42;
const INSIDER_KEY: [u8; 32] = [43; 32];

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) attack: Option<Attack>,
    pub(crate) target: Target,
    pub(crate) tally: Tally,
    pub(crate) report: Report,
    pub(crate) newcomer: Newcomer,
    /// Resident memory before and after the attack, in bytes.
    pub(crate) resident: [u64; 2],
    /// How much of its CPU the gateway took, in percent.
    pub(crate) gateway_cpu_percent: f64,
    /// What the gateway counted during the attack.
    pub(crate) counters: Counters,
}

/// A client that connects during the attack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Newcomer {
    /// From its first message to its session; `None` when it had none after [`NEWCOMER_PATIENCE`].
    pub(crate) seconds: Option<f64>,
    /// Messages that it sent again, a second after the one before.
    pub(crate) retries: u64,
    /// Cookies that it was asked to show.
    pub(crate) cookies: u64,
}

impl Newcomer {
    /// How many tunnels it can have made: one for each message that it sent.
    pub(crate) fn tunnels_max(&self) -> u64 {
        match self.seconds {
            Some(_) => 1 + self.retries,
            None => 1 + NEWCOMER_PATIENCE.as_secs(),
        }
    }
}

/// Who is attacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Gateway,
    /// A socket that nobody reads: what remains is what the attacker takes from the load, which has the
    /// same CPU where there are only two.
    Decoy,
}

/// Measures what clients notice of `attack`, or of none.
pub(crate) fn measure(
    run: &Run,
    duration: Duration,
    attack: Option<Attack>,
    target: Target,
) -> Result<Outcome, BenchError> {
    let decoy = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| Ok((socket.local_addr()?, socket)))
        .map_err(BenchError::NoPort)?;
    let insider = StaticSecret::from(INSIDER_KEY);
    let identities = write_identities(&insider)?;
    let mut server = Server::start_with_default_limits(run, identities.path())?;
    let load = load_on(run, server.listen);
    let trial = Trial {
        duration,
        warm_up: WARM_UP,
        ..load.trial()
    };
    let settling = Trial {
        duration: SETTLING,
        warm_up: Duration::ZERO,
        ..trial
    };
    let measured = snapload::with_tunnels(&load, &mut |_| {}, |generator| {
        let gateway = server.listen;
        let attacked = match target {
            Target::Gateway => gateway,
            Target::Decoy => decoy.0,
        };
        let prepared = thread::scope(|scope| {
            let prepared = scope.spawn(|| {
                attack
                    .map(|attack| Ok((attack, attacker::prepare(attack, attacked, &insider)?)))
                    .transpose()
            });
            generator.measure(&settling)?;
            Ok::<_, LoadError>(join(prepared))
        })?;
        let before = prepared
            .and_then(|prepared| Ok((prepared, server.resident_bytes()?, Counters::of(&server)?)));
        let (prepared, resident_before, counters_before) = match before {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        let done = AtomicBool::new(false);
        let (report, tally, newcomer, cpu) = thread::scope(|scope| {
            let attacker = scope.spawn(|| match prepared {
                Some((attack, attacker)) => {
                    attacker::attack(&run.placement, attack, attacker, &done)
                }
                None => Ok(Tally::default()),
            });
            let newcomer = scope.spawn(|| {
                thread::sleep(WARM_UP + duration / 4);
                connect_newcomer(gateway)
            });
            let (started, cpu_before) = (Instant::now(), server.clock.ns());
            let report = generator.measure(&trial);
            let cpu = server.clock.ns().and_then(|after| Ok(after - cpu_before?));
            let elapsed = started.elapsed();
            let newcomer = join(newcomer);
            done.store(true, Ordering::Relaxed);
            let cpu = cpu.map(|ns| ns as f64 / elapsed.as_nanos() as f64 * 100.0);
            (report, join(attacker), newcomer, cpu)
        });
        let report = report?;
        thread::sleep(COUNTED_WITHIN);
        let outcome = || {
            Ok(Outcome {
                attack,
                target,
                tally: tally?,
                report,
                newcomer: newcomer?,
                resident: [resident_before, server.resident_bytes()?],
                gateway_cpu_percent: cpu?,
                counters: Counters::of(&server)?.since(&counters_before),
            })
        };
        Ok(outcome())
    });
    measured.map_err(|source| BenchError::Load {
        server: Kind::Snapgate(Build::New).name(),
        source: Box::new(source),
        state: server.state(),
    })?
}

/// The result of a thread, or its panic.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The file of those who are authorized: the tunnels, the newcomer, and the insider.
fn write_identities(insider: &StaticSecret) -> Result<NamedTempFile, BenchError> {
    let mut keys = Identities::from_seed(TUNNEL_SEED, TUNNELS).public_keys();
    keys.extend(Identities::from_seed(NEWCOMER_SEED, 1).public_keys());
    keys.push(PublicKey::from(insider).to_bytes());
    let mut text = String::new();
    for key in keys {
        let key = snapload::key_to_base64(&key);
        // It cannot fail.
        let _written = writeln!(text, "[[identity]]\npublic_key = \"{key}\"");
    }
    let file = NamedTempFile::new().map_err(BenchError::Temporary)?;
    std::fs::write(file.path(), text).map_err(BenchError::Temporary)?;
    Ok(file)
}

fn load_on(run: &Run, gateway: SocketAddr) -> LoadConfig {
    let public_key = PublicKey::from(&gateway_key()).to_bytes();
    let identities = Identities::from_seed(TUNNEL_SEED, TUNNELS);
    let mut load = LoadConfig::new(gateway, public_key, identities);
    load.rate = Rate::PerSecond(ROUND_TRIPS_PER_SECOND);
    load.train = Some(TRAIN);
    load.cpus = Cpus::List(vec![run.placement.load]);
    load.source_ips = Some(TUNNEL_IPS);
    load
}

fn connect_newcomer(gateway: SocketAddr) -> Result<Newcomer, BenchError> {
    let public_key = PublicKey::from(&gateway_key()).to_bytes();
    let identities = Identities::from_seed(NEWCOMER_SEED, 1);
    let mut newcomer = LoadConfig::new(gateway, public_key, identities);
    newcomer.cpus = Cpus::Unpinned;
    newcomer.source_ips = Some(NEWCOMER_IP);
    newcomer.connect_timeout = NEWCOMER_PATIENCE;
    let connected = snapload::with_tunnels(&newcomer, &mut |_| {}, |generator| {
        Ok(generator.connect_report())
    });
    match connected {
        Ok(connected) => Ok(Newcomer {
            seconds: Some(connected.seconds),
            retries: connected.retries,
            cookies: connected.cookies,
        }),
        Err(LoadError::Connect { .. }) => Ok(Newcomer {
            seconds: None,
            retries: 0,
            cookies: 0,
        }),
        Err(error) => Err(BenchError::Newcomer(Box::new(error))),
    }
}

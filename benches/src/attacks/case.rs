//! One case: tunnels, clients that renew their sessions, a newcomer, and an attack.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use snapload::{
    Cpus, Generator, Identities, LoadConfig, LoadError, PacketSizes, Rate, Report, Trial,
};
use snaptun::protocol::{DATA_OVERHEAD_BYTES, INITIATION_BYTES};
use snaptun::{PublicKey, StaticSecret};
use tempfile::NamedTempFile;

use super::attack::Attack;
use super::attacker::{self, Aim, Tally};
use super::counters::Counters;
use super::half_open;
use super::rekeys::{Client, RekeyPlan, Rekeys};
use super::site::Site;
use super::spoofed::Victim;
use crate::gateway_public_key;
use crate::harness::error::BenchError;
use crate::harness::run::Run;
use crate::harness::server::{Server, Way};

/// Length of packets that merge with spoofed messages: with header and tag they are as long as an initiation.
const MERGED_PACKET_BYTES: usize = INITIATION_BYTES - DATA_OVERHEAD_BYTES;

/// Addresses of clients on loopback.
const NEWCOMER_IP: Ipv4Addr = Ipv4Addr::new(127, 96, 0, 1);
const REKEYING_IP: Ipv4Addr = Ipv4Addr::new(127, 97, 0, 1);

/// Time for which tunnels carry packets before the memory is measured, so that buffers have their final size.
const SETTLING: Duration = Duration::from_secs(1);

/// Time from the start of the attack to the start of the measurement.
const WARM_UP: Duration = Duration::from_secs(1);

/// Delay before counters are read: the gateway reads the kernel's drop counters twice per second.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// Time after which the newcomer gives up.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(10);

/// Seeds of the keys of authorized identities.
const TUNNEL_SEED: u64 = 41;
const NEWCOMER_SEED: u64 = 42;
const INSIDER_KEY: [u8; 32] = [43; 32];
const REKEYING_SEED: u8 = 44;
const ACCOMPLICE_SEED: u8 = 45;

/// Maximum number of clients that renew their sessions.
const REKEYING_MAX: usize = 8;

/// Measurements of a case.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) attack: Option<Attack>,
    pub(crate) target: Target,
    pub(crate) tally: Tally,
    pub(crate) report: Report,
    pub(crate) newcomer: Newcomer,
    pub(crate) rekeys: Rekeys,
    /// Time in which the attacker's identity connected with a correct clock; `None` if it did not.
    pub(crate) insider_seconds: Option<f64>,
    /// Number of tunnels before the attack.
    pub(crate) tunnels_before: u64,
    /// Number of datagrams that the network lost.
    pub(crate) lost_by_link: u64,
    /// Resident memory before and after the attack, in bytes.
    pub(crate) resident: [u64; 2],
    /// CPU time of the gateway, in percent of a CPU.
    pub(crate) gateway_cpu_percent: f64,
    /// Counters of the gateway during the attack.
    pub(crate) counters: Counters,
}

/// A client that connects during the attack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Newcomer {
    /// Time from the first message to the session; `None` if it took more than [`NEWCOMER_PATIENCE`].
    pub(crate) seconds: Option<f64>,
    /// Number of messages that it repeated after a second.
    pub(crate) retries: u64,
    /// Number of cookies that it received.
    pub(crate) cookies: u64,
}

impl Newcomer {
    /// Returns the maximum number of tunnels that it may have created: one per message.
    pub(crate) fn tunnels_max(&self) -> u64 {
        match self.seconds {
            Some(_) => 1 + self.retries,
            None => 1 + NEWCOMER_PATIENCE.as_secs(),
        }
    }
}

/// Destination of the attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Gateway,
    /// A socket at this address that is never read. It shows how much CPU time the attacker takes from the load, with
    /// which it shares a CPU if there are only two.
    Decoy(SocketAddr),
}

/// Measures the effects of `attack` on clients, or the same load without an attack.
pub(crate) fn measure(
    run: &Run,
    duration: Duration,
    attack: Option<Attack>,
    target: Target,
) -> Result<Outcome, BenchError> {
    let site = Site::new(attack.is_some_and(Attack::is_in_namespaces));
    let case = Case {
        run,
        site: &site,
        attack,
        target,
        duration: attack.map_or(duration, |attack| attack.duration(duration, run.quick)),
        plan: Attack::rekey_plan(attack, run.quick),
    };
    site.at_gateway(|| case.measure())
}

struct Case<'a> {
    run: &'a Run,
    site: &'a Site,
    attack: Option<Attack>,
    target: Target,
    duration: Duration,
    plan: RekeyPlan,
}

/// Keys of authorized identities, except for the load and the newcomer.
struct Keys {
    insider: StaticSecret,
    rekeying: Vec<StaticSecret>,
    accomplices: Vec<StaticSecret>,
}

/// An attack that is ready to begin.
type Prepared = (Attack, Box<dyn attacker::Attacker + Send>);

/// State before the attack.
struct Before {
    prepared: Option<Prepared>,
    rekeying: Vec<Client>,
    resident: u64,
    counters: Counters,
}

impl Case<'_> {
    /// Measures the case. Called in the namespace of the gateway.
    fn measure(&self) -> Result<Outcome, BenchError> {
        let keys = Keys::new();
        let identities = keys.write(self.site.tunnels())?;
        let way = match self.attack {
            Some(Attack::HalfOpen) => Way::Forward,
            _ => Way::Echo,
        };
        let ip = self.site.gateway_ip();
        let mut server = Server::start_with_default_limits(self.run, identities.path(), ip, way)?;
        let load = self.load_on(server.listen);
        let measured = self.site.at_client(|| {
            snapload::with_tunnels(&load, &mut |_| {}, |generator| {
                let before = match self.prepare(generator, &load, &server, &keys)? {
                    Ok(before) => before,
                    Err(error) => return Ok(Err(error)),
                };
                self.attack(generator, &load, &server, &keys, before)
            })
        });
        measured.map_err(|error| server.load_failed(error))?
    }

    /// Connects clients and prepares the attack, while the tunnels carry packets.
    fn prepare(
        &self,
        generator: &mut Generator<'_>,
        load: &LoadConfig,
        server: &Server,
        keys: &Keys,
    ) -> Result<Result<Before, BenchError>, LoadError> {
        let settling = Trial {
            duration: SETTLING,
            warm_up: Duration::ZERO,
            ..load.trial()
        };
        let prepared = thread::scope(|scope| {
            let prepared = scope.spawn(|| {
                let rekeying = self.connect_rekeying(server.listen, keys)?;
                Ok((self.prepare_attack(server, keys, &rekeying)?, rekeying))
            });
            generator.measure(&settling)?;
            Ok::<_, LoadError>(join(prepared))
        })?;
        Ok(prepared.and_then(|(prepared, rekeying)| {
            Ok(Before {
                prepared,
                rekeying,
                resident: server.resident_bytes()?,
                counters: self.site.at_gateway(|| Counters::of(server))?,
            })
        }))
    }

    fn connect_rekeying(
        &self,
        gateway: SocketAddr,
        keys: &Keys,
    ) -> Result<Vec<Client>, BenchError> {
        let bind = (self.site.client_ip(REKEYING_IP), 0).into();
        keys.rekeying
            .iter()
            .take(self.plan.clients)
            .map(|identity| Client::connect(identity, bind, gateway))
            .collect()
    }

    fn prepare_attack(
        &self,
        server: &Server,
        keys: &Keys,
        rekeying: &[Client],
    ) -> Result<Option<Prepared>, BenchError> {
        let Some(attack) = self.attack else {
            return Ok(None);
        };
        let gateway = match self.target {
            Target::Gateway => server.listen,
            Target::Decoy(decoy) => decoy,
        };
        let mut victims = Vec::new();
        for client in rekeying {
            if let SocketAddr::V4(address) = client.address()? {
                let receiver = client.session().to_gateway;
                victims.push(Victim { address, receiver });
            }
        }
        let aim = Aim {
            site: self.site,
            gateway,
            metrics: server.metrics_address()?,
            clients: &victims,
            insider: &keys.insider,
            accomplices: &keys.accomplices,
        };
        Ok(Some((attack, attacker::prepare(attack, &aim)?)))
    }

    /// Carries out the attack and measures its effects.
    fn attack(
        &self,
        generator: &mut Generator<'_>,
        load: &LoadConfig,
        server: &Server,
        keys: &Keys,
        before: Before,
    ) -> Result<Result<Outcome, BenchError>, LoadError> {
        let gateway = server.listen;
        let trial = Trial {
            duration: self.duration,
            warm_up: WARM_UP,
            ..load.trial()
        };
        let lost_by_link_before = self.site.lost_by_link();
        // The attack continues until every renewal has succeeded or failed.
        let (measured, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let (report, tally, newcomer, rekeys, insider, cpu) = thread::scope(|scope| {
            let attacker = scope.spawn(|| match before.prepared {
                Some((attack, attacker)) => {
                    attacker::attack(&self.run.placement, attack, attacker, &done)
                }
                None => Ok(Tally::default()),
            });
            let newcomer = scope.spawn(|| {
                thread::sleep(WARM_UP + self.duration / 4);
                self.connect_newcomer(gateway)
            });
            let clients = before.rekeying.len();
            let rekeying: Vec<_> = before
                .rekeying
                .into_iter()
                .enumerate()
                .map(|(number, client)| {
                    let phase = number as f64 / clients as f64;
                    let (plan, measured) = (&self.plan, &measured);
                    scope.spawn(move || client.rekey(plan, phase, measured))
                })
                .collect();
            let (started, cpu_before) = (Instant::now(), server.clock.ns());
            let report = generator.measure(&trial);
            let cpu = server.clock.ns().and_then(|after| Ok(after - cpu_before?));
            let elapsed = started.elapsed();
            measured.store(true, Ordering::Relaxed);
            let rekeys: Vec<_> = rekeying.into_iter().map(join).collect();
            let newcomer = join(newcomer);
            let insider = (self.attack == Some(Attack::Future))
                .then(|| connect_insider(&keys.insider, gateway))
                .transpose();
            done.store(true, Ordering::Relaxed);
            let cpu = cpu.map(|ns| ns as f64 / elapsed.as_nanos() as f64 * 100.0);
            (report, join(attacker), newcomer, rekeys, insider, cpu)
        });
        let report = report?;
        thread::sleep(COUNTED_WITHIN);
        let outcome = || {
            let mut all_rekeys = Rekeys::default();
            for rekeys in rekeys {
                all_rekeys.add(rekeys.map_err(BenchError::Rekey)?);
            }
            let counters = self.site.at_gateway(|| Counters::of(server))?;
            Ok(Outcome {
                attack: self.attack,
                target: self.target,
                tally: tally?,
                report,
                newcomer: newcomer?,
                rekeys: all_rekeys,
                insider_seconds: insider?.flatten(),
                tunnels_before: before.counters.sum("tunnels"),
                lost_by_link: self.site.lost_by_link() - lost_by_link_before,
                resident: [before.resident, server.resident_bytes()?],
                gateway_cpu_percent: cpu?,
                counters: counters.since(&before.counters),
            })
        };
        Ok(outcome())
    }

    fn load_on(&self, gateway: SocketAddr) -> LoadConfig {
        let public_key = gateway_public_key().to_bytes();
        let identities = Identities::from_seed(TUNNEL_SEED, self.site.tunnels());
        let mut load = LoadConfig::new(gateway, public_key, identities);
        load.rate = Rate::PerSecond(self.site.round_trips_per_second());
        load.train = Some(self.site.train());
        load.cpus = Cpus::List(vec![self.run.placement.load]);
        load.source_ips = Some(self.site.tunnel_ips());
        if let Site::Network(_) = self.site {
            load.sizes = PacketSizes::Fixed(MERGED_PACKET_BYTES);
            load.allow_remote = true;
            // As in clients with QUIC, so that spoofed messages merge with the packets.
            load.never_fragment = true;
        }
        load
    }

    fn connect_newcomer(&self, gateway: SocketAddr) -> Result<Newcomer, BenchError> {
        self.site.at_client(|| {
            let source_ips = match self.site {
                Site::Loopback => Some(Ipv4Net::from(NEWCOMER_IP).into()),
                Site::Network(_) => None,
            };
            connect_newcomer(gateway, source_ips)
        })
    }
}

/// Returns the result of a thread, or continues its panic.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Keys {
    fn new() -> Self {
        let several = |seed: u8, count: usize| {
            (0..count)
                .map(|number| {
                    let mut key = [seed; 32];
                    // Not the first byte, in which X25519 ignores bits.
                    key[1] = number as u8;
                    StaticSecret::from(key)
                })
                .collect()
        };
        Self {
            insider: StaticSecret::from(INSIDER_KEY),
            rekeying: several(REKEYING_SEED, REKEYING_MAX),
            accomplices: several(ACCOMPLICE_SEED, half_open::IDENTITIES),
        }
    }

    /// Writes the identities file: these keys, the load's tunnels and the newcomer.
    fn write(&self, tunnels: usize) -> Result<NamedTempFile, BenchError> {
        let mut keys = Identities::from_seed(TUNNEL_SEED, tunnels).public_keys();
        keys.extend(Identities::from_seed(NEWCOMER_SEED, 1).public_keys());
        let others = [&self.insider]
            .into_iter()
            .chain(&self.rekeying)
            .chain(&self.accomplices);
        keys.extend(others.map(|key| PublicKey::from(key).to_bytes()));
        let mut text = String::new();
        for key in keys {
            let key = snapload::key_to_base64(&key);
            // Writing to a string does not fail.
            let _written = writeln!(text, "[[identity]]\npublic_key = \"{key}\"");
        }
        let file = NamedTempFile::new().map_err(BenchError::Temporary)?;
        std::fs::write(file.path(), text).map_err(BenchError::Temporary)?;
        Ok(file)
    }
}

/// Returns the time in which a client with the clock of this host connects; `None` if it does not.
fn connect_insider(insider: &StaticSecret, gateway: SocketAddr) -> Result<Option<f64>, BenchError> {
    let started = Instant::now();
    match Client::connect(insider, (NEWCOMER_IP, 0).into(), gateway) {
        Ok(_) => Ok(Some(started.elapsed().as_secs_f64())),
        Err(BenchError::NoAnswer) => Ok(None),
        Err(error) => Err(error),
    }
}

fn connect_newcomer(
    gateway: SocketAddr,
    source_ips: Option<IpNet>,
) -> Result<Newcomer, BenchError> {
    let public_key = gateway_public_key().to_bytes();
    let identities = Identities::from_seed(NEWCOMER_SEED, 1);
    let mut newcomer = LoadConfig::new(gateway, public_key, identities);
    newcomer.cpus = Cpus::Unpinned;
    newcomer.source_ips = source_ips;
    newcomer.allow_remote = true;
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

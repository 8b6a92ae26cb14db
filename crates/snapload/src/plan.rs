//! What all threads of a run share: read-only while packets are sent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use core_affinity::CoreId;

use crate::config::{Cpus, LoadConfig, Rate};
use crate::error::{ConfigError, LoadError};
use crate::inner_packet::PacketForm;
use crate::pacing::Nanos;

/// File descriptors besides the tunnels' sockets: per thread a poll, a timer and what a thread
/// needs, and what the process has open anyway.
const OTHER_FILE_DESCRIPTORS: u64 = 64;
const FILE_DESCRIPTORS_PER_THREAD: u64 = 4;

/// What all threads of a run share.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a LoadConfig,
    pub(crate) form: PacketForm,
    /// The addresses tunnels are bound to, in turn; never empty.
    source_ips: Vec<IpAddr>,
    /// The CPUs of the threads, in turn; empty when they are not pinned.
    cpus: Vec<CoreId>,
    /// Time 0 of every [`Nanos`].
    epoch: Instant,
    /// Tunnels that are connected.
    connected: AtomicUsize,
    /// When packets begin to be sent; set when all tunnels are connected.
    start: OnceLock<Nanos>,
    /// The run failed elsewhere.
    stopped: AtomicBool,
}

impl<'a> Plan<'a> {
    /// Checks the configuration, and what this machine has to offer for it.
    pub(crate) fn new(config: &'a LoadConfig) -> Result<Self, LoadError> {
        config.check()?;
        allow_file_descriptors(config)?;
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(LoadError::Random)?;
        let form = PacketForm::new(
            u64::from_be_bytes(salt),
            config.isd_as,
            config.size,
            config.gateway.ip(),
        );
        Ok(Self {
            config,
            form,
            source_ips: source_ips(config)?,
            cpus: cpus(&config.cpus)?,
            epoch: Instant::now(),
            connected: AtomicUsize::new(0),
            start: OnceLock::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// The time since the run began.
    pub(crate) fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as Nanos
    }

    /// The tunnels of a thread.
    pub(crate) fn tunnels_of(&self, thread: usize) -> Range<usize> {
        let (tunnels, threads) = (self.config.identities.len(), self.config.threads);
        thread * tunnels / threads..(thread + 1) * tunnels / threads
    }

    /// The address a tunnel's socket is bound to.
    pub(crate) fn source_ip(&self, tunnel: usize) -> IpAddr {
        self.source_ips[tunnel % self.source_ips.len()]
    }

    /// The CPU of a thread.
    pub(crate) fn cpu_of(&self, thread: usize) -> Option<CoreId> {
        thread
            .checked_rem(self.cpus.len())
            .map(|index| self.cpus[index])
    }

    /// The offered rate, over all threads.
    pub(crate) fn offered_pps(&self) -> Option<f64> {
        match self.config.rate {
            Rate::PerSecond(pps) => Some(pps),
            Rate::Max { .. } => None,
        }
    }

    /// One more tunnel is connected.
    pub(crate) fn note_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn start_sending(&self, at: Nanos) {
        // Set once, by the one thread that waits for the others.
        let _ = self.start.set(at);
    }

    pub(crate) fn start(&self) -> Option<Nanos> {
        self.start.get().copied()
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Makes sure that the process may open a socket per tunnel, raising its soft limit if need be.
fn allow_file_descriptors(config: &LoadConfig) -> Result<(), LoadError> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let needed = config.identities.len() as u64
        + config.threads as u64 * FILE_DESCRIPTORS_PER_THREAD
        + OTHER_FILE_DESCRIPTORS;
    let mut limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limits.current = limits.maximum;
    match (limits.maximum, setrlimit(Resource::Nofile, limits)) {
        (None, Ok(())) => Ok(()),
        (Some(limit), Ok(())) if limit >= needed => Ok(()),
        (limit, _) => Err(LoadError::TooFewFileDescriptors {
            needed,
            limit: limit.unwrap_or_default(),
        }),
    }
}

/// The addresses the tunnels are bound to: those of the configuration, or the one the operating
/// system takes towards the gateway.
fn source_ips(config: &LoadConfig) -> Result<Vec<IpAddr>, LoadError> {
    if let Some(net) = config.source_ips {
        // A network of one or two addresses has no hosts to `ipnet`, but addresses it has.
        let hosts: Vec<IpAddr> = net.hosts().take(config.identities.len()).collect();
        return Ok(if hosts.is_empty() {
            vec![net.addr()]
        } else {
            hosts
        });
    }
    let unspecified: SocketAddr = match config.gateway {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    UdpSocket::bind(unspecified)
        .and_then(|socket| {
            socket.connect(config.gateway)?;
            socket.local_addr()
        })
        .map(|address| vec![address.ip()])
        .map_err(|source| LoadError::NoRoute {
            gateway: config.gateway,
            source,
        })
}

/// The CPUs of the threads, in turn.
fn cpus(cpus: &Cpus) -> Result<Vec<CoreId>, ConfigError> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    match cpus {
        Cpus::Unpinned => Ok(Vec::new()),
        Cpus::FromLast => Ok(usable.into_iter().rev().collect()),
        Cpus::List(list) if list.is_empty() => Err(ConfigError::NoCpus),
        Cpus::List(list) => list
            .iter()
            .map(|&cpu| {
                usable
                    .iter()
                    .copied()
                    .find(|usable| usable.id == cpu)
                    .ok_or_else(|| ConfigError::UnknownCpu {
                        cpu,
                        usable: usable.iter().map(|usable| usable.id).collect(),
                    })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;

    fn config(tunnels: usize) -> LoadConfig {
        let gateway = "127.0.0.1:51820".parse().unwrap();
        LoadConfig::new(gateway, [1; 32], Identities::from_seed(1, tunnels))
    }

    #[test]
    fn every_tunnel_belongs_to_one_thread_and_none_is_idle() {
        for (tunnels, threads) in [(1, 1), (5, 2), (7, 7), (100, 3)] {
            let mut config = config(tunnels);
            config.threads = threads;
            let plan = Plan::new(&config).unwrap();
            let mut next = 0;
            for thread in 0..threads {
                let range = plan.tunnels_of(thread);
                assert_eq!(range.start, next);
                assert!(!range.is_empty());
                next = range.end;
            }
            assert_eq!(next, tunnels);
        }
    }

    #[test]
    fn tunnels_take_the_source_addresses_in_turn() {
        let mut config = config(5);
        config.source_ips = Some("127.0.1.0/30".parse().unwrap());
        let plan = Plan::new(&config).unwrap();
        let ips: Vec<String> = (0..3)
            .map(|tunnel| plan.source_ip(tunnel).to_string())
            .collect();
        assert_eq!(ips, ["127.0.1.1", "127.0.1.2", "127.0.1.1"]);
    }

    #[test]
    fn one_source_address_is_enough() {
        let mut config = config(5);
        config.source_ips = Some("127.0.1.9/32".parse().unwrap());
        let plan = Plan::new(&config).unwrap();
        assert_eq!(plan.source_ip(4).to_string(), "127.0.1.9");
    }

    #[test]
    fn the_source_address_towards_a_local_gateway_is_local() {
        let config = config(1);
        let plan = Plan::new(&config).unwrap();
        assert_eq!(plan.source_ip(0), config.gateway.ip());
    }

    #[test]
    fn an_unknown_cpu_is_refused_with_those_there_are() {
        let mut config = config(1);
        config.cpus = Cpus::List(vec![usize::MAX]);
        let error = Plan::new(&config).err().unwrap();
        let LoadError::Config(ConfigError::UnknownCpu { cpu, usable }) = error else {
            panic!("{error}");
        };
        assert_eq!(cpu, usize::MAX);
        assert!(!usable.is_empty());
    }

    #[test]
    fn threads_are_not_pinned_when_asked_not_to_be() {
        let mut config = config(1);
        config.cpus = Cpus::Unpinned;
        assert_eq!(Plan::new(&config).unwrap().cpu_of(0), None);
    }
}

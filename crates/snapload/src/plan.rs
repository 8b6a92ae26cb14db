//! State that all threads of a run share; read-only while packets are sent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use core_affinity::CoreId;
use udp_shards::{SocketOptions, bind_client_socket};

use crate::config::{Cpus, Direction, LoadConfig};
use crate::error::{ConfigError, LoadError};
use crate::identity::split_mix;
use crate::inner_packet::{PacketForm, PacketRecipe};
use crate::pacing::Nanos;

/// File descriptors besides the tunnels' sockets: those of the process, and per thread a poll, a timer, a router socket
/// and spares.
const OTHER_FILE_DESCRIPTORS: u64 = 64;
const FILE_DESCRIPTORS_PER_THREAD: u64 = 5;

/// State that all threads of a run share.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a LoadConfig,
    /// Seed of everything random.
    seed: u64,
    /// Source addresses of the tunnels, used in turn; never empty.
    source_ips: Vec<IpAddr>,
    /// CPUs of the threads, used in turn; empty if they are not pinned.
    cpus: Vec<CoreId>,
    /// Time 0 of every [`Nanos`].
    epoch: Instant,
    /// Number of connected tunnels.
    connected: AtomicUsize,
    /// Set when the run has ended or failed.
    stopped: AtomicBool,
}

impl<'a> Plan<'a> {
    /// Validates the configuration against itself and against this machine.
    pub(crate) fn new(config: &'a LoadConfig) -> Result<Self, LoadError> {
        config.check()?;
        let source_ips = source_ips(config)?;
        allow_file_descriptors(config, source_ips.len())?;
        let seed = match config.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(LoadError::Random)?,
        };
        Ok(Self {
            config,
            seed,
            source_ips,
            cpus: cpus(&config.cpus)?,
            epoch: Instant::now(),
            connected: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Returns the seed of a thread.
    pub(crate) fn seed_of(&self, thread: usize) -> u64 {
        split_mix(self.seed ^ split_mix(thread as u64))
    }

    /// Returns the packets of a thread.
    pub(crate) fn packet_form(&self, thread: usize) -> Result<PacketForm, LoadError> {
        let config = self.config;
        let recipe = PacketRecipe {
            salt: split_mix(self.seed),
            direction: config.direction.kind(),
            interface: match config.direction {
                Direction::Up { interface, .. } => interface.wrapping_add(thread as u16),
                Direction::Echo | Direction::Down { .. } => 1,
            },
            isd_as: config.isd_as,
            remote_isd_as: config.remote_isd_as,
            ipv4: config.gateway.is_ipv4(),
        };
        let sizes: Vec<usize> = config.size_mix().iter().map(|&(bytes, _)| bytes).collect();
        PacketForm::new(recipe, &sizes).map_err(LoadError::Packet)
    }

    /// Returns the time since the run began.
    pub(crate) fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as Nanos
    }

    /// Returns the tunnels of a thread. Threads take turns, so that the first tunnels of a run are spread over all
    /// threads.
    pub(crate) fn tunnels_of(&self, thread: usize) -> impl ExactSizeIterator<Item = usize> {
        (thread..self.config.tunnels()).step_by(self.config.threads)
    }

    /// Returns the position of a tunnel within its thread; `None` if it belongs to another thread.
    pub(crate) fn position_of(&self, thread: usize, tunnel: usize) -> Option<usize> {
        (tunnel % self.config.threads == thread).then_some(tunnel / self.config.threads)
    }

    /// Returns the share of the rate, 0 to 1, of all active tunnels of a thread.
    pub(crate) fn share_of(&self, thread: usize) -> f64 {
        let shares = self.config.shares;
        let active = self.config.active_tunnels();
        let weight = |tunnels: &mut dyn Iterator<Item = usize>| -> f64 {
            tunnels
                .filter(|&tunnel| tunnel < active)
                .map(|tunnel| shares.weight(tunnel))
                .sum()
        };
        weight(&mut self.tunnels_of(thread)) / weight(&mut (0..self.config.tunnels()))
    }

    /// Returns the source address of a tunnel.
    pub(crate) fn source_ip(&self, tunnel: usize) -> IpAddr {
        self.source_ips[tunnel % self.source_ips.len()]
    }

    /// Returns the number of earlier tunnels with the same address. Tunnels of a thread with the same number have
    /// different addresses.
    pub(crate) fn round_of(&self, tunnel: usize) -> usize {
        tunnel / self.source_ips.len()
    }

    /// Returns the CPU of a thread.
    pub(crate) fn cpu_of(&self, thread: usize) -> Option<CoreId> {
        thread
            .checked_rem(self.cpus.len())
            .map(|index| self.cpus[index])
    }

    /// Counts a tunnel as connected.
    pub(crate) fn note_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Ensures that the process may open the sockets of all tunnels; raises its soft limit if necessary.
fn allow_file_descriptors(config: &LoadConfig, source_ips: usize) -> Result<(), LoadError> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let tunnels = config.tunnels();
    let sockets = match config.source_ips {
        Some(_) if config.shares_sockets() => {
            tunnels.min(config.threads * tunnels.div_ceil(source_ips))
        }
        _ => tunnels,
    };
    let needed = sockets as u64
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

/// Returns the source addresses of the tunnels: those of the configuration, or the one that the operating system
/// selects towards the gateway.
fn source_ips(config: &LoadConfig) -> Result<Vec<IpAddr>, LoadError> {
    if let Some(net) = config.source_ips {
        // `ipnet` returns no hosts for a network of one or two addresses.
        let mut hosts: Vec<IpAddr> = net.hosts().take(config.identities.len()).collect();
        if hosts.is_empty() {
            hosts.push(net.addr());
        }
        // Shared sockets are not bound to these addresses, so check now that they belong to this machine.
        for tunnel in [0, hosts.len() - 1] {
            let address = hosts[tunnel];
            bind_client_socket(SocketAddr::new(address, 0), &SocketOptions::default()).map_err(
                |source| LoadError::Bind {
                    tunnel,
                    address,
                    source,
                },
            )?;
        }
        return Ok(hosts);
    }
    Ok(vec![local_ip(config.gateway)?])
}

/// Returns the address that the operating system selects towards another.
pub(crate) fn local_ip(towards: SocketAddr) -> Result<IpAddr, LoadError> {
    let unspecified: SocketAddr = match towards {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    UdpSocket::bind(unspecified)
        .and_then(|socket| {
            socket.connect(towards)?;
            socket.local_addr()
        })
        .map(|address| address.ip())
        .map_err(|source| LoadError::NoRoute {
            gateway: towards,
            source,
        })
}

/// Returns the CPUs of the threads, to be used in turn.
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
    fn every_tunnel_belongs_to_one_thread_and_every_thread_has_tunnels() {
        for (tunnels, threads) in [(1, 1), (5, 2), (7, 7), (100, 3)] {
            let mut config = config(tunnels);
            config.threads = threads;
            let plan = Plan::new(&config).unwrap();
            let mut seen = vec![None; tunnels];
            for thread in 0..threads {
                assert!(plan.tunnels_of(thread).len() > 0);
                for (position, tunnel) in plan.tunnels_of(thread).enumerate() {
                    assert_eq!(plan.position_of(thread, tunnel), Some(position));
                    assert_eq!(seen[tunnel].replace(thread), None);
                }
            }
            for (tunnel, thread) in seen.into_iter().enumerate() {
                let other = (thread.unwrap() + 1) % threads;
                assert!(threads == 1 || plan.position_of(other, tunnel).is_none());
            }
        }
    }

    #[test]
    fn tunnels_use_the_source_addresses_in_turn() {
        let mut config = config(5);
        config.source_ips = Some("127.0.1.0/30".parse().unwrap());
        let plan = Plan::new(&config).unwrap();
        let ips: Vec<String> = (0..3)
            .map(|tunnel| plan.source_ip(tunnel).to_string())
            .collect();
        assert_eq!(ips, ["127.0.1.1", "127.0.1.2", "127.0.1.1"]);
        assert_eq!([0, 1, 2, 3, 4].map(|t| plan.round_of(t)), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn single_source_address_is_shared() {
        let mut config = config(5);
        config.source_ips = Some("127.0.1.9/32".parse().unwrap());
        let plan = Plan::new(&config).unwrap();
        assert_eq!(plan.source_ip(4).to_string(), "127.0.1.9");
    }

    #[test]
    fn source_address_towards_a_local_gateway_is_local() {
        let config = config(1);
        let plan = Plan::new(&config).unwrap();
        assert_eq!(plan.source_ip(0), config.gateway.ip());
    }

    #[test]
    fn unknown_cpu_is_refused_and_usable_ones_are_listed() {
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
    fn pinning_can_be_disabled() {
        let mut config = config(1);
        config.cpus = Cpus::Unpinned;
        assert_eq!(Plan::new(&config).unwrap().cpu_of(0), None);
    }
}

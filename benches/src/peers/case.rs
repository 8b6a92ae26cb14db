//! A load, its floor, and its adaptation to each server.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ipnet::{IpNet, Ipv4Net};
use snapload::{Cpus, Identities, LoadConfig, PacketSizes, Rate};

use crate::harness::error::BenchError;
use crate::harness::run::Run;
use crate::harness::server::{Kind, Server, Way};
use crate::steps::{Traffic, measure_crypto, measure_receive, measure_send};
use crate::{
    RawTunnels, StepError, TUNNEL_OVERHEAD_BYTES, cpu, gateway_public_key, imix_in_random_order,
};

/// Size of the peer's receive slots (`PACKET_BUF_SIZE` in its `gateway.rs`): it truncates longer trains.
const PEER_SLOT_BYTES: usize = 9216;

/// Number of packets in flight: enough to fill every batch of a gateway, and few enough for its socket buffers and for
/// the peer's queue of 1024 packets.
const WINDOW: u32 = 512;

/// Maximum number of tunnels in a floor. With more, the private cache of a core is too small as well.
const FLOOR_TUNNELS_MAX: usize = 100;

/// Minimum length of packets with a path over IPv4 that the load can send.
const SMALLEST_FORWARDED_BYTES: usize = 100;

/// Addresses of up to 262,142 tunnels, on loopback.
const SOURCE_IPS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 64, 0, 0), 14));

/// Duration of the measurement of each step of a floor, in milliseconds.
const FLOOR_STEP_MS: u64 = 120;

/// A load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub(crate) way: Way,
    /// Number of tunnels, which send in rotation.
    pub(crate) tunnels: usize,
    pub(crate) sizes: PacketSizes,
    /// Number of consecutive packets per tunnel.
    pub(crate) train: u32,
}

impl Case {
    /// Returns the load of one tunnel that sends trains of 16.
    pub(crate) fn one_tunnel(way: Way, sizes: PacketSizes) -> Self {
        Self {
            way,
            tunnels: 1,
            sizes,
            train: 16,
        }
    }

    /// Returns the load of tunnels that send single packets of 1400 bytes to the router.
    pub(crate) fn many_tunnels(tunnels: usize) -> Self {
        Self {
            way: Way::Forward,
            tunnels,
            sizes: PacketSizes::Fixed(1400),
            train: 1,
        }
    }

    /// Returns the name of the load in the table.
    pub(crate) fn name(&self) -> String {
        let tunnels = match self.tunnels {
            1 => "1 tunnel".to_owned(),
            many => format!("{many} tunnels in turn"),
        };
        let trains = match self.train {
            1 => "single datagrams".to_owned(),
            train => format!("trains of {train}"),
        };
        let sizes = match self.sizes {
            PacketSizes::Fixed(bytes) => format!("{bytes} B"),
            PacketSizes::Imix => "IMIX".to_owned(),
        };
        let way = match self.way {
            Way::Forward => "forward",
            Way::Echo => "echo",
        };
        format!("{tunnels}, {trains}, {sizes}, {way}")
    }

    /// Returns the size of the largest packet in bytes.
    fn largest(&self) -> usize {
        self.packet_sizes().into_iter().max().unwrap_or_default()
    }

    /// Returns the mean size of packets in bytes.
    pub(crate) fn mean_size(&self) -> usize {
        let sizes = self.packet_sizes();
        sizes.iter().sum::<usize>() / sizes.len().max(1)
    }

    /// Returns the sizes of packets, one for each train of a rotation.
    fn packet_sizes(&self) -> Vec<usize> {
        match self.sizes {
            PacketSizes::Fixed(bytes) => vec![bytes],
            PacketSizes::Imix => imix_in_random_order()
                .into_iter()
                .map(|bytes| match self.way {
                    Way::Forward => bytes.max(SMALLEST_FORWARDED_BYTES),
                    Way::Echo => bytes,
                })
                .collect(),
        }
    }

    /// Returns the train length for a server: the peer gets no trains that it would truncate.
    pub(crate) fn train_for(&self, kind: Kind) -> u32 {
        let whole = PEER_SLOT_BYTES / (self.largest() + TUNNEL_OVERHEAD_BYTES);
        match kind {
            Kind::Peer => self
                .train
                .min(u32::try_from(whole).unwrap_or(u32::MAX))
                .max(1),
            Kind::Snapgate(_) | Kind::SnapgateWith { .. } => self.train,
        }
    }

    /// Returns the configuration of the load on `server`, a closed loop.
    pub(crate) fn load(
        &self,
        run: &Run,
        kind: Kind,
        server: &Server,
    ) -> Result<LoadConfig, BenchError> {
        let identities = Identities::from_seed(u64::from(server.listen.port()), self.tunnels);
        let public_key = gateway_public_key().to_bytes();
        let mut load = LoadConfig::new(server.listen, public_key, identities);
        load.direction = server.direction;
        load.cpus = Cpus::List(vec![run.placement.load]);
        load.sizes = self.sizes;
        load.train = Some(self.train_for(kind));
        load.rate = Rate::Max { window: WINDOW };
        if self.tunnels > 1 {
            // Tunnels with different addresses share a socket, which is cheapest for the load generator.
            load.source_ips = Some(SOURCE_IPS);
        }
        Ok(load)
    }

    /// Returns the CPU time per packet of the indispensable steps, in nanoseconds: receiving, decapsulating,
    /// encapsulating for an echo, and sending.
    ///
    /// Trains leave with the length with which they arrive. Single datagrams of many tunnels to one router leave in
    /// trains of the maximum length.
    pub(crate) fn measure_floor(&self, run: &Run) -> Result<f64, BenchError> {
        let train = self.train as usize;
        let step = run.time(FLOOR_STEP_MS);
        let tunnels = self.tunnels.min(FLOOR_TUNNELS_MAX);
        let packets: Vec<usize> = self
            .packet_sizes()
            .into_iter()
            .flat_map(|size| std::iter::repeat_n(size, train))
            .collect();
        let crypto = on_the_gateways_cpu(run, || measure_crypto(&packets, tunnels, step))?;
        let datagrams: Vec<usize> = packets
            .iter()
            .map(|size| size + TUNNEL_OVERHEAD_BYTES)
            .collect();
        let per_send = if train == 1 { usize::MAX } else { train };
        let incoming = Traffic {
            sizes: datagrams,
            peers: tunnels,
            train,
            per_send,
            gso: true,
        };
        let outgoing = match self.way {
            Way::Forward => Traffic {
                sizes: packets,
                peers: 1,
                train,
                per_send,
                gso: true,
            },
            Way::Echo => incoming.clone(),
        };
        let receive = measure_receive(&incoming, &run.placement, step)?;
        let send = measure_send(&outgoing, &run.placement, step)?;
        let encapsulate = match self.way {
            Way::Forward => 0.0,
            Way::Echo => crypto.encapsulate_ns,
        };
        Ok(receive + crypto.decapsulate_ns + encapsulate + send)
    }
}

/// Runs `work` on the gateway's CPU while the load's CPU encrypts, as it does under load: two CPUs may be threads of
/// the same core, which a virtual machine may hide.
pub(crate) fn on_the_gateways_cpu<T: Send>(
    run: &Run,
    work: impl FnOnce() -> Result<T, StepError> + Send,
) -> Result<T, BenchError> {
    let done = AtomicBool::new(false);
    let placement = &run.placement;
    let result = thread::scope(|scope| {
        let load = scope.spawn(|| {
            cpu::pin(placement.load)?;
            encrypt_until(&done)
        });
        let worker = scope.spawn(|| {
            let _done = StoreOnDrop(&done);
            cpu::pin(placement.gateway)?;
            work()
        });
        let panicked = StepError::Tunnel("a measuring thread panicked");
        match (worker.join(), load.join()) {
            (Ok(result), Ok(load)) => load.and(result),
            _ => Err(panicked),
        }
    });
    Ok(result?)
}

fn encrypt_until(done: &AtomicBool) -> Result<(), StepError> {
    let mut tunnels = RawTunnels::connect(1)?;
    let packet = [0x5a; 1400];
    while !done.load(Ordering::Relaxed) {
        std::hint::black_box(tunnels.encapsulate_at_client(0, &packet)?);
    }
    Ok(())
}

/// Sets a flag when dropped, also by a panic.
struct StoreOnDrop<'a>(&'a AtomicBool);

impl Drop for StoreOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

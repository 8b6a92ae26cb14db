//! Configuration of a load run.

mod check;
mod presence;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use scion_packet::IsdAs;
use serde::{Deserialize, Serialize};

pub use self::presence::{Presence, Shares};
use crate::identity::Identities;

/// Size in bytes of the largest inner packet: a UDP datagram over IPv4 (65,507 bytes) minus 32 bytes for SNAPtun.
pub const MAX_PACKET_BYTES: usize = 65_507 - 32;

/// Maximum number of packets in a train: the kernel's limit for one segmented send (UDP_MAX_SEGMENTS,
/// include/linux/udp.h).
pub const MAX_TRAIN: u32 = 64;

/// Maximum number of tunnels. A gateway would need 200 GB of memory for them.
pub const MAX_TUNNELS: usize = 1 << 24;

// Stamps store the tunnel index in 32 bits.
const _: () = assert!(MAX_TUNNELS <= u32::MAX as usize);

/// Default number of packets in flight with [`Rate::Max`]: enough to keep a gateway busy while the generator works, and
/// few enough for default socket buffers.
pub const DEFAULT_WINDOW: u32 = 512;

/// Default ISD-AS of the tunnels: 1-ff00:0:110, from the range for examples and tests.
pub const DEFAULT_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

/// Default ISD-AS of the remote side: 1-ff00:0:111, from the range for examples and tests.
pub const DEFAULT_REMOTE_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0111);

/// Train length with [`Rate::Max`] if [`LoadConfig::train`] is `None`.
const DEFAULT_TRAIN: u32 = 16;

/// Packet sizes of the simple IMIX in bytes, each with its share of 48 packets.
const IMIX: [(usize, u32); 3] = [(64, 28), (570, 16), (1518, 4)];

/// Configuration of a load run. Start from [`LoadConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// SNAPtun listen address of the gateway.
    pub gateway: SocketAddr,
    /// X25519 public key of the gateway.
    pub gateway_public_key: [u8; 32],
    /// Identities of the tunnels, one per tunnel.
    pub identities: Identities,
    /// Number of tunnels, counted from the first, that carry packets; the others are connected and idle. `None`: all.
    pub active: Option<usize>,
    /// Direction of the packets.
    pub direction: Direction,
    /// Number of generator threads, which share the tunnels.
    pub threads: usize,
    /// CPUs of the threads.
    pub cpus: Cpus,
    /// Sizes of the SCION packets.
    pub sizes: PacketSizes,
    /// Send rate.
    pub rate: Rate,
    /// How the tunnels share the rate.
    pub shares: Shares,
    /// When tunnels connect and leave. All but [`Presence::Throughout`] require an open loop.
    pub presence: Presence,
    /// Time from the start of counting at which all connected tunnels begin a new handshake.
    pub rekey_at: Option<Duration>,
    /// Number of packets of equal size sent back to back on one tunnel. `None`: 1 in an open loop, which spaces packets
    /// evenly, and 16 with [`Rate::Max`].
    pub train: Option<u32>,
    /// Memory limit in bytes for encrypting all packets of a trial before the first is sent; `None` encrypts while
    /// sending. A closed loop ends when its encrypted packets are used up. Echoed packets are still decrypted and
    /// compared.
    pub pre_encrypt_bytes: Option<u64>,
    /// Duration of the measurement, in which packets are sent and counted.
    pub duration: Duration,
    /// Duration of the warm-up before it, in which packets are sent but not counted.
    pub warm_up: Duration,
    /// How long after its end a period keeps sending packets that were due in it and are late. `None`: a twentieth of
    /// the period, at most 100 ms, so that a disturbance just before the end does not count but a slow generator does.
    pub catch_up: Option<Duration>,
    /// Maximum wait for packets after the last was sent. Packets missing after that count as lost.
    pub drain: Duration,
    /// Period of [`Progress::Interval`](crate::Progress::Interval) reports.
    pub interval: Duration,
    /// Maximum time from a tunnel's first handshake message to its session.
    pub connect_timeout: Duration,
    /// Time without an answer to a handshake message after which another is sent.
    pub handshake_retry: Duration,
    /// Seed of packet contents and of the order of sizes; `None` draws one per run. Keys do not depend on it: see
    /// [`Identities`].
    pub seed: Option<u64>,
    /// Persistent keepalive interval of the tunnels, in whole seconds; `None` disables it.
    pub keepalive: Option<Duration>,
    /// Source addresses of the tunnels, used in turn. Tunnels of a thread with different addresses share a socket,
    /// which is cheaper and allows more tunnels than file descriptors. `None`: the address that the operating system
    /// selects towards the gateway, and one socket per tunnel.
    pub source_ips: Option<IpNet>,
    /// Disables fragmentation (`IP_PMTUDISC_PROBE`), as quinn-udp does. IPv4 packets of shared sockets then have the ID
    /// 0, so network cards merge them with others like them (GRO).
    pub never_fragment: bool,
    /// ISD-AS of the tunnels. A gateway that forwards SCION must have the same one.
    pub isd_as: IsdAs,
    /// ISD-AS of the remote side for [`Direction::Up`] and [`Direction::Down`].
    pub remote_isd_as: IsdAs,
    /// Switch that ends the run early.
    pub stop: StopSwitch,
    /// Allows a gateway on another machine. Off by default, because load sent to a wrong address does harm there.
    pub allow_remote: bool,
}

/// Default of [`LoadConfig::catch_up`]: this fraction of a period, up to a maximum.
const CATCH_UP_DIVISOR: u32 = 20;
const CATCH_UP_MAX: Duration = Duration::from_millis(100);

/// Switch that ends a run early: sending stops, and the report covers the time until then. Clones share the switch.
#[derive(Clone, Debug, Default)]
pub struct StopSwitch(Arc<AtomicBool>);

impl StopSwitch {
    /// Ends the run.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if the run is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the flag behind the switch, for signal handlers: true ends the run.
    #[must_use]
    pub fn as_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Direction of packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Into a tunnel and back out of it. The gateway echoes packets, or forwards SCION, since packets are addressed to
    /// their own tunnel.
    Echo,
    /// Into tunnels and out to a router, which the generator plays. Packets are addressed to a host of
    /// [`LoadConfig::remote_isd_as`].
    ///
    /// Every thread plays its own router, so that threads do not wait for each other: thread `i`, counted from 0, uses
    /// port `router.port() + i` and interface `interface + i`. The gateway needs a next hop for each.
    Up {
        /// Listen address of the first thread's router.
        router: SocketAddr,
        /// Interface through which packets of the first thread leave the AS.
        interface: u16,
    },
    /// From a router, which the generator plays, to the gateway and out of tunnels. Packets come from a host of
    /// [`LoadConfig::remote_isd_as`]. Every thread has its own socket.
    Down {
        /// Internal address of the gateway, on which it receives from routers.
        internal: SocketAddr,
        /// Source address of the first thread. The other threads use the following ports, or free ones if its port is
        /// 0. `None`: the address that the operating system selects, and free ports. The gateway must accept packets of
        /// routers from there.
        router: Option<SocketAddr>,
    },
}

/// A [`Direction`] without its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionKind {
    /// Into a tunnel and back out of it.
    Echo,
    /// Into tunnels and out to a router.
    Up,
    /// From a router, out of tunnels.
    Down,
}

/// Sizes of SCION packets, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketSizes {
    /// One size for all packets.
    Fixed(usize),
    /// Simple IMIX: of 48 trains, 28 have packets of 64 bytes, 16 of 570 and 4 of 1518. Where headers and stamp need
    /// more than 64 bytes, the smallest possible size replaces 64.
    Imix,
}

impl From<usize> for PacketSizes {
    fn from(bytes: usize) -> Self {
        Self::Fixed(bytes)
    }
}

/// Send rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rate {
    /// Open loop: packets per second over all tunnels, each sent at its scheduled time, independent of arrivals.
    PerSecond(f64),
    /// Open loop whose rate rises in equal steps of equal duration over the measurement. See
    /// [`Report::steps`](crate::Report::steps).
    Ramp {
        /// First rate, also used in the warm-up, in packets per second over all tunnels.
        from: f64,
        /// Last rate, in packets per second over all tunnels.
        to: f64,
        /// Number of steps.
        steps: NonZeroU32,
    },
    /// Closed loop: a packet is sent when another arrives. This finds the throughput that a gateway sustains with
    /// `window` packets in its queues; latencies are those of full queues.
    Max {
        /// Maximum number of packets in flight over all tunnels, at least one train per thread.
        window: u32,
    },
}

/// CPU placement of the threads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cpus {
    /// Chosen by the operating system.
    Unpinned,
    /// One CPU per thread, from the last CPU downwards: gateways allocate from the first upwards.
    FromLast,
    /// These CPUs, in turn.
    List(Vec<usize>),
}

impl LoadConfig {
    /// Returns how long a period of this length keeps sending late packets.
    pub(crate) fn catch_up_after(&self, period: Duration) -> Duration {
        let unsaid = (period / CATCH_UP_DIVISOR).min(CATCH_UP_MAX);
        self.catch_up.unwrap_or(unsaid)
    }

    /// Creates a run with one tunnel per identity, which sends 1000 packets of 1200 bytes per second for 10 seconds and
    /// receives their echoes.
    #[must_use]
    pub fn new(gateway: SocketAddr, gateway_public_key: [u8; 32], identities: Identities) -> Self {
        Self {
            gateway,
            gateway_public_key,
            identities,
            active: None,
            direction: Direction::Echo,
            threads: 1,
            cpus: Cpus::FromLast,
            sizes: PacketSizes::Fixed(1200),
            rate: Rate::PerSecond(1000.0),
            shares: Shares::Equal,
            presence: Presence::Throughout,
            rekey_at: None,
            train: None,
            pre_encrypt_bytes: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            catch_up: None,
            drain: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            handshake_retry: Duration::from_secs(1),
            seed: None,
            keepalive: Some(Duration::from_secs(10)),
            source_ips: None,
            never_fragment: false,
            isd_as: DEFAULT_ISD_AS,
            remote_isd_as: DEFAULT_REMOTE_ISD_AS,
            stop: StopSwitch::default(),
            allow_remote: false,
        }
    }

    /// Returns the number of tunnels connected at a time.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        match self.presence {
            Presence::Turnover { tunnels, .. } => tunnels.min(self.identities.len()),
            Presence::Throughout | Presence::AtOnce { .. } => self.identities.len(),
        }
    }

    /// Returns true if tunnels with different addresses share a socket. With turnover they do not: a newcomer needs a
    /// new port, because the gateway reserves an address for the identity it knows there.
    pub(crate) fn shares_sockets(&self) -> bool {
        self.source_ips.is_some() && !matches!(self.presence, Presence::Turnover { .. })
    }

    /// Returns the public keys of the tunnels, which the gateway must authorize.
    #[must_use]
    pub fn public_keys(&self) -> Vec<[u8; 32]> {
        self.identities.public_keys()
    }

    /// Returns the number of tunnels that carry packets.
    #[must_use]
    pub fn active_tunnels(&self) -> usize {
        self.active.unwrap_or(self.tunnels())
    }

    /// Returns the packet sizes in bytes, each with its number of trains per round.
    pub(crate) fn size_mix(&self) -> Vec<(usize, u32)> {
        let min = self.direction.min_packet_bytes(self.gateway.ip());
        match self.sizes {
            PacketSizes::Fixed(bytes) => vec![(bytes, 1)],
            PacketSizes::Imix => IMIX.map(|(bytes, share)| (bytes.max(min), share)).to_vec(),
        }
    }

    /// Returns the mean packet size in bytes, rounded.
    pub(crate) fn mean_size(&self) -> usize {
        let mix = self.size_mix();
        let trains: usize = mix.iter().map(|&(_, trains)| trains as usize).sum();
        let bytes: usize = mix
            .iter()
            .map(|&(bytes, trains)| bytes * trains as usize)
            .sum();
        (bytes + trains / 2) / trains
    }

    /// Returns the train length that results from this configuration.
    #[must_use]
    pub fn effective_train(&self) -> u32 {
        match (self.train, self.rate) {
            (Some(train), _) => train,
            (None, Rate::PerSecond(_) | Rate::Ramp { .. }) => 1,
            (None, Rate::Max { .. }) => DEFAULT_TRAIN,
        }
    }
}

impl Direction {
    /// Returns the direction without its addresses.
    #[must_use]
    pub fn kind(self) -> DirectionKind {
        match self {
            Self::Echo => DirectionKind::Echo,
            Self::Up { .. } => DirectionKind::Up,
            Self::Down { .. } => DirectionKind::Down,
        }
    }
}

/// Returns the address with its port increased by `thread`. Port 0 stays 0, for any free port.
pub(crate) fn address_of_thread(mut address: SocketAddr, thread: usize) -> SocketAddr {
    if address.port() != 0 {
        address.set_port(address.port().wrapping_add(thread as u16));
    }
    address
}

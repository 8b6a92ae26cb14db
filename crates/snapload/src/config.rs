//! What a run shall do.

mod check;
mod presence;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use scion_packet::IsdAs;
use serde::{Deserialize, Serialize};

pub use self::presence::{Presence, Shares};
use crate::identity::Identities;
use crate::inner_packet::{self, Way};

/// The largest inner packet: a UDP datagram over IPv4 (65,507 bytes) less SNAPtun's 32 bytes.
pub const MAX_PACKET_BYTES: usize = 65_507 - 32;

/// The longest train: the kernel takes no more datagrams in one segmented send (UDP_MAX_SEGMENTS,
/// include/linux/udp.h).
pub const MAX_TRAIN: u32 = 64;

/// The most tunnels: a gateway would need 200 GB for them.
pub const MAX_TUNNELS: usize = 1 << 24;

// Stamps number tunnels in 32 bits.
const _: () = assert!(MAX_TUNNELS <= u32::MAX as usize);

/// Packets in flight with [`Rate::Max`] unless told otherwise: enough for a gateway to work on
/// while the generator works, and little enough for default socket buffers to hold.
pub const DEFAULT_WINDOW: u32 = 512;

/// ISD-AS of the tunnels unless told otherwise: 1-ff00:0:110, of the range for examples and tests.
pub const DEFAULT_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

/// ISD-AS of the other side unless told otherwise: 1-ff00:0:111, of the range for examples and
/// tests.
pub const DEFAULT_REMOTE_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0111);

/// The train length of [`LoadConfig::train`] `None` with [`Rate::Max`].
const DEFAULT_TRAIN: u32 = 16;

/// Sizes of the simple IMIX, and how many of 48 packets have each.
const IMIX: [(usize, u32); 3] = [(64, 28), (570, 16), (1518, 4)];

/// Everything a run needs to know. Start from [`LoadConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where the gateway listens for SNAPtun.
    pub gateway: SocketAddr,
    /// The gateway's X25519 public key.
    pub gateway_public_key: [u8; 32],
    /// One tunnel per identity.
    pub identities: Identities,
    /// How many tunnels, the first ones, carry packets; the others are connected and idle. `None`:
    /// all.
    pub active: Option<usize>,
    /// Which way packets take.
    pub direction: Direction,
    /// How many threads share the tunnels.
    pub threads: usize,
    /// Where the threads run.
    pub cpus: Cpus,
    /// Sizes of the SCION packets.
    pub sizes: PacketSizes,
    /// How fast packets are sent.
    pub rate: Rate,
    /// How tunnels share the rate.
    pub shares: Shares,
    /// When tunnels come and go. Other than [`Presence::Throughout`] takes an open loop.
    pub presence: Presence,
    /// When all tunnels that are there begin a new handshake, after packets begin to be counted.
    pub rekey_at: Option<Duration>,
    /// How many packets of equal size are sent back to back on one tunnel. `None`: 1 with
    /// [`Rate::PerSecond`], which spaces all packets evenly, and 16 with [`Rate::Max`].
    pub train: Option<u32>,
    /// Encrypt all packets of a trial before any is sent, in at most this memory, in bytes; `None`:
    /// encrypt while sending. A closed loop ends when they are used up. For an echo, what comes back
    /// is decrypted and compared all the same.
    pub pre_encrypt_bytes: Option<u64>,
    /// How long packets are sent and counted.
    pub duration: Duration,
    /// How long packets are sent before that without being counted.
    pub warm_up: Duration,
    /// How long after its end a period goes on sending what was due before and is late. `None`: a
    /// twentieth of it and at most 100 ms, so that a disturbance just before the end does not count, and
    /// a generator that is too slow does.
    pub catch_up: Option<Duration>,
    /// How long packets are waited for after the last was sent; what is then missing is lost.
    pub drain: Duration,
    /// How often [`Progress::Interval`](crate::Progress::Interval) is reported.
    pub interval: Duration,
    /// How long a tunnel may take from its first handshake message to being connected.
    pub connect_timeout: Duration,
    /// How long a handshake message waits for its answer before another is sent.
    pub handshake_retry: Duration,
    /// What the content of packets and the order of sizes derive from; `None` for something new
    /// each time. Keys do not: see [`Identities`].
    pub seed: Option<u64>,
    /// Persistent keepalive of the tunnels, in whole seconds; `None` for none.
    pub keepalive: Option<Duration>,
    /// The addresses of the tunnels, in turn. All tunnels of a thread with different addresses
    /// share a socket, so this is how to have more tunnels than file descriptors, and cheaper ones.
    /// `None`: the address the operating system chooses towards the gateway, and a socket per
    /// tunnel.
    pub source_ips: Option<IpNet>,
    /// Whether datagrams are never fragmented (`IP_PMTUDISC_PROBE`), as in quinn-udp. The IPv4 packets of shared
    /// sockets then have the ID 0, so a network card merges them with others that do (GRO).
    pub never_fragment: bool,
    /// ISD-AS of the tunnels: the gateway's own, when it forwards SCION.
    pub isd_as: IsdAs,
    /// ISD-AS of the other side, when packets do not go from a tunnel to itself.
    pub remote_isd_as: IsdAs,
    /// Ends the run before its time.
    pub stop: StopSwitch,
    /// Whether the gateway may be on another machine. A load generator that is pointed at the
    /// wrong address does harm there, so this takes a decision.
    pub allow_remote: bool,
}

/// What [`LoadConfig::catch_up`] is when nothing is said: this part of a period, and at most this long.
const CATCH_UP_DIVISOR: u32 = 20;
const CATCH_UP_MAX: Duration = Duration::from_millis(100);

/// Ends a run before its time: packets are no longer sent, and the result is that of the time until
/// then. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct StopSwitch(Arc<AtomicBool>);

impl StopSwitch {
    /// Lets the run end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run shall end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The switch as what it is, for signal handlers: true lets the run end.
    #[must_use]
    pub fn as_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Which way packets take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Into a tunnel, and back out of the same tunnel: the gateway echoes, or forwards SCION, for
    /// packets are addressed to the tunnel they come from.
    Echo,
    /// Into tunnels, and from the gateway to a router, which this is as well. Packets go to a host
    /// of [`LoadConfig::remote_isd_as`].
    ///
    /// Every thread is a router of its own, so that none waits for another: thread `i`, counted
    /// from 0, has the port `router.port() + i` and the interface `interface + i`, and the gateway
    /// needs a next hop for each.
    Up {
        /// Where the first thread's router listens.
        router: SocketAddr,
        /// The interface by which packets of the first thread leave the AS.
        interface: u16,
    },
    /// From a router, which this is, to the gateway, and out of tunnels. Packets come from a host
    /// of [`LoadConfig::remote_isd_as`]. Every thread has a socket of its own.
    Down {
        /// Where the gateway listens for routers.
        internal: SocketAddr,
        /// Where the first thread sends from; the others have the ports that follow, or free ones if
        /// its port is 0. `None`: the address that the operating system chooses, and free ports. The
        /// gateway has to take packets of routers from there.
        router: Option<SocketAddr>,
    },
}

/// A [`Direction`] without its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionKind {
    /// Into a tunnel and back out of it.
    Echo,
    /// Into tunnels and out at a router.
    Up,
    /// From a router, out of tunnels.
    Down,
}

/// Sizes of SCION packets, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketSizes {
    /// All the same.
    Fixed(usize),
    /// The simple IMIX: of 48 trains, 28 have packets of 64 bytes, 16 of 570 and 4 of 1518.
    /// Where headers and stamp take more than 64 bytes, the smallest possible size stands for 64.
    Imix,
}

impl From<usize> for PacketSizes {
    fn from(bytes: usize) -> Self {
        Self::Fixed(bytes)
    }
}

/// How fast packets are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rate {
    /// Open loop: this many packets a second over all tunnels, each at its scheduled time,
    /// whatever arrives.
    PerSecond(f64),
    /// Open loop at a rate that rises in equal steps, which divide the time in which packets are
    /// counted. See [`Report::steps`](crate::Report::steps).
    Ramp {
        /// The first rate, also of the warm-up, in packets a second over all tunnels.
        from: f64,
        /// The last rate.
        to: f64,
        /// How many rates there are.
        steps: NonZeroU32,
    },
    /// Closed loop: a packet is sent when another arrived, with at most this many in flight
    /// over all tunnels. Finds what a gateway sustains with that many packets in its queues;
    /// latencies are those of full queues.
    Max {
        /// Packets in flight over all tunnels, at least one train per thread.
        window: u32,
    },
}

/// Where the threads run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cpus {
    /// Where the operating system puts them.
    Unpinned,
    /// Each on its own CPU, from the last one down: gateways count from the first one up.
    FromLast,
    /// On these CPUs, in turn.
    List(Vec<usize>),
}

impl LoadConfig {
    /// How long a period of this length goes on sending what is late.
    pub(crate) fn catch_up_after(&self, period: Duration) -> Duration {
        let unsaid = (period / CATCH_UP_DIVISOR).min(CATCH_UP_MAX);
        self.catch_up.unwrap_or(unsaid)
    }

    /// A run of one random tunnel that sends 1000 packets of 1200 bytes a second for 10 seconds,
    /// which come back.
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

    /// How many tunnels there are at a time.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        match self.presence {
            Presence::Turnover { tunnels, .. } => tunnels.min(self.identities.len()),
            Presence::Throughout | Presence::AtOnce { .. } => self.identities.len(),
        }
    }

    /// Whether tunnels with different addresses share a socket. One that comes in the place of
    /// another needs a port of its own: a gateway keeps an address for the identity it knows there.
    pub(crate) fn shares_sockets(&self) -> bool {
        self.source_ips.is_some() && !matches!(self.presence, Presence::Turnover { .. })
    }

    /// The public keys of the tunnels: what the gateway has to authorize.
    #[must_use]
    pub fn public_keys(&self) -> Vec<[u8; 32]> {
        self.identities.public_keys()
    }

    /// How many tunnels carry packets.
    #[must_use]
    pub fn active_tunnels(&self) -> usize {
        self.active.unwrap_or(self.tunnels())
    }

    /// The sizes of packets in bytes, and how many trains of a round have each.
    pub(crate) fn size_mix(&self) -> Vec<(usize, u32)> {
        let min = self.direction.min_packet_bytes(self.gateway.ip());
        match self.sizes {
            PacketSizes::Fixed(bytes) => vec![(bytes, 1)],
            PacketSizes::Imix => IMIX.map(|(bytes, share)| (bytes.max(min), share)).to_vec(),
        }
    }

    /// The mean size of packets in bytes, rounded.
    pub(crate) fn mean_size(&self) -> usize {
        let mix = self.size_mix();
        let trains: usize = mix.iter().map(|&(_, trains)| trains as usize).sum();
        let bytes: usize = mix
            .iter()
            .map(|&(bytes, trains)| bytes * trains as usize)
            .sum();
        (bytes + trains / 2) / trains
    }

    /// The length of trains that this configuration results in.
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
    /// The direction without its addresses.
    #[must_use]
    pub fn kind(self) -> DirectionKind {
        match self {
            Self::Echo => DirectionKind::Echo,
            Self::Up { .. } => DirectionKind::Up,
            Self::Down { .. } => DirectionKind::Down,
        }
    }

    /// The size of the smallest packet that can be sent to tunnels or from tunnels with addresses
    /// like `ip`: SCION and UDP header, and the mark that tells packets apart. 64 bytes over IPv4
    /// and 88 over IPv6 for an echo, 100 and 124 otherwise, for the path.
    #[must_use]
    pub fn min_packet_bytes(self, ip: IpAddr) -> usize {
        inner_packet::min_bytes(self.way(0), ip)
    }

    /// The way of the packets of a thread.
    pub(crate) fn way(self, thread: usize) -> Way {
        match self {
            Self::Echo => Way::Echo,
            Self::Up { interface, .. } => Way::Up {
                interface: interface.wrapping_add(thread as u16),
            },
            Self::Down { .. } => Way::Down,
        }
    }
}

/// The address with the port that is `thread` higher; 0 remains 0, for any free port.
pub(crate) fn address_of_thread(mut address: SocketAddr, thread: usize) -> SocketAddr {
    if address.port() != 0 {
        address.set_port(address.port().wrapping_add(thread as u16));
    }
    address
}

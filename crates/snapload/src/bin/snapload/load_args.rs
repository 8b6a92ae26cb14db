//! Options of the load and its target, the same for all commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use scion_packet::IsdAs;
use snapload::{
    Cpus, DEFAULT_ISD_AS, DEFAULT_REMOTE_ISD_AS, Direction, Identities, LoadConfig, LoadError,
    PacketSizes, parse_time,
};

use crate::failure::Failure;
use crate::values::{Key, parse_bytes, parse_cpus, parse_key, parse_network, parse_tunnels};

/// Options that `run`, `search` and `script` share.
#[derive(Args)]
pub(crate) struct CommonArguments {
    /// Allow a gateway on another machine; only use it on your own
    #[arg(help_heading = "Gateway", long)]
    allow_remote: bool,

    /// ISD-AS of the tunnels; a gateway that forwards SCION must have the same one
    #[arg(
        help_heading = "Gateway", long, value_name = "ISD-AS", default_value_t = DEFAULT_ISD_AS
    )]
    isd_as: IsdAs,

    /// File of private keys for the tunnels, one base64 key per line as printed by `wg genkey` [default: random keys]
    #[arg(
        help_heading = "Tunnels",
        long,
        value_name = "FILE",
        conflicts_with = "key_seed"
    )]
    keys_file: Option<PathBuf>,

    /// Seed of the keys, as for `snapload keys`. It reveals the private keys, so use it only for tests
    #[arg(help_heading = "Tunnels", long, value_name = "N")]
    key_seed: Option<u64>,

    /// Source addresses of tunnels and garbage, used in turn: a network such as 127.1.0.0/16
    ///
    /// Tunnels of a thread with different addresses share a socket, which is cheaper and allows more tunnels than file
    /// descriptors. More addresses also allow more handshakes and ports, which are limited per address.
    #[arg(help_heading = "Tunnels", long, value_name = "RANGE", value_parser = parse_network)]
    source_ip: Option<IpNet>,

    /// Maximum time after the end in which late packets are still sent [default: a twentieth of the duration, at most
    /// 100ms]
    ///
    /// A disturbance just before the end then does not count, but a slow generator does.
    #[arg(help_heading = "Generator", long, value_name = "TIME", value_parser = parse_time)]
    catch_up: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct LoadArguments {
    /// SNAPtun listen address of the gateway
    #[arg(help_heading = "Gateway", long, value_name = "ADDR")]
    gateway: SocketAddr,

    /// Public key of the gateway
    #[arg(help_heading = "Gateway", long, value_name = "BASE64", value_parser = parse_key)]
    public_key: Key,

    #[command(flatten)]
    common: CommonArguments,

    /// Direction of the packets
    #[arg(help_heading = "Direction", long, value_enum, default_value_t = DirectionArgument::Echo)]
    direction: DirectionArgument,

    /// Address of the router that snapload plays
    ///
    /// up: listen address, which must be the gateway's next hop for --interface. Every thread plays its own router: the
    /// second one listens on the next port, packets of its tunnels leave through the next interface, and so on, so the
    /// gateway needs a next hop per thread. With 127.0.0.1:31001 and interface 1, two threads need
    /// 1-ff00:0:110#1=127.0.0.1:31001 and 1-ff00:0:110#2=127.0.0.1:31002.
    ///
    /// down: source address of the first thread; port 0 means any free port [default: any free port of the address that
    /// the system selects towards --internal]. The gateway accepts packets only from the IP addresses of its next hops
    /// and of --internal-from.
    #[arg(
        help_heading = "Direction",
        long,
        value_name = "ADDR",
        required_if_eq("direction", "up")
    )]
    router: Option<SocketAddr>,

    /// up: interface through which packets of the first thread leave the AS [default: 1]
    #[arg(help_heading = "Direction", long, value_name = "N")]
    interface: Option<u16>,

    /// down: internal address of the gateway, on which it receives from routers
    #[arg(
        help_heading = "Direction",
        long,
        value_name = "ADDR",
        required_if_eq("direction", "down")
    )]
    internal: Option<SocketAddr>,

    /// up, down: ISD-AS of the remote side
    #[arg(
        help_heading = "Direction", long, value_name = "ISD-AS",
        default_value_t = DEFAULT_REMOTE_ISD_AS
    )]
    remote_isd_as: IsdAs,

    /// Number of tunnels [default: 1, or the number of keys in --keys-file]
    #[arg(help_heading = "Tunnels", long, value_name = "N", value_parser = parse_tunnels)]
    tunnels: Option<usize>,

    /// Number of tunnels that carry packets; the others are connected and idle [default: all]
    #[arg(help_heading = "Tunnels", long, value_name = "N")]
    active: Option<usize>,

    /// Persistent keepalive interval of the tunnels, in whole seconds; 0s disables it
    #[arg(
        help_heading = "Tunnels", long, value_name = "TIME", default_value = "10s",
        value_parser = parse_time
    )]
    keepalive: Duration,

    /// Maximum time for a tunnel to connect
    #[arg(
        help_heading = "Tunnels", long, value_name = "TIME", default_value = "10s",
        value_parser = parse_time
    )]
    connect_timeout: Duration,

    /// Size of the SCION packets in bytes, at least 64 over IPv4 and 88 over IPv6; 100 and 124 for up and down
    #[arg(
        help_heading = "Traffic",
        long,
        value_name = "BYTES",
        default_value_t = 1200
    )]
    size: usize,

    /// Mix packet sizes: of 48 trains, 28 have packets of 64 bytes, 16 of 570 and 4 of 1518
    ///
    /// Where the headers need more than 64 bytes, the smallest possible size replaces 64.
    #[arg(help_heading = "Traffic", long, conflicts_with = "size")]
    imix: bool,

    /// Packets of one size sent back to back on a tunnel, 1 to 64 [default: 1; 16 with --rate max]
    ///
    /// Trains take less CPU time per packet. With 1 all packets are spaced evenly.
    #[arg(help_heading = "Traffic", long, value_name = "PACKETS")]
    train: Option<u32>,

    /// Maximum wait for the last packets; packets missing after that are lost
    #[arg(
        help_heading = "Traffic", long, value_name = "TIME", default_value = "1s",
        value_parser = parse_time
    )]
    drain: Duration,

    /// Seed of packet contents and of the order of sizes, to repeat a run
    #[arg(help_heading = "Traffic", long, value_name = "N")]
    seed: Option<u64>,

    /// Encrypt all packets before the first is sent, so that encryption does not limit the generator
    ///
    /// Needs memory for the size of each packet plus 144 bytes; --rate max ends when the packets that fit into
    /// --pre-encrypt-memory are used up. With echo, packets that come back are still decrypted and compared; with up,
    /// they arrive in the clear, so the generator decrypts nothing.
    #[arg(help_heading = "Generator", long)]
    pre_encrypt: bool,

    /// Memory limit for --pre-encrypt, such as 500MiB or 4GiB
    #[arg(
        help_heading = "Generator", long, value_name = "SIZE", default_value = "4GiB",
        value_parser = parse_bytes, requires = "pre_encrypt"
    )]
    pre_encrypt_memory: u64,

    /// Number of generator threads, which share the tunnels
    #[arg(
        help_heading = "Generator",
        long,
        value_name = "N",
        default_value_t = 1
    )]
    threads: usize,

    /// CPUs of the threads, used in turn, such as 2,4-7; or none [default: from the last one downwards]
    #[arg(help_heading = "Generator", long, value_name = "LIST|none", value_parser = parse_cpus)]
    cpus: Option<Cpus>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DirectionArgument {
    /// Into a tunnel and back out of it
    Echo,
    /// Into tunnels and out to a router, which snapload plays
    Up,
    /// From a router, which snapload plays, to the internal address and out of tunnels
    Down,
}

impl LoadArguments {
    /// Returns the configuration, with defaults for everything else.
    pub(crate) fn config(&self) -> Result<LoadConfig, Failure> {
        let identities = self.common.identities(self.tunnels, None)?;
        let mut config = LoadConfig::new(self.gateway, self.public_key.0, identities);
        config.direction = self.direction()?;
        config.active = self.active;
        config.threads = self.threads;
        config.cpus = self.cpus.clone().unwrap_or(Cpus::FromLast);
        config.sizes = if self.imix {
            PacketSizes::Imix
        } else {
            PacketSizes::Fixed(self.size)
        };
        config.train = self.train;
        config.pre_encrypt_bytes = self.pre_encrypt.then_some(self.pre_encrypt_memory);
        config.drain = self.drain;
        config.connect_timeout = self.connect_timeout;
        config.seed = self.seed;
        config.keepalive = (!self.keepalive.is_zero()).then_some(self.keepalive);
        config.remote_isd_as = self.remote_isd_as;
        self.common.apply(&mut config);
        Ok(config)
    }

    /// Returns the direction with its addresses. Options of another direction are refused, since they indicate a
    /// mistake.
    fn direction(&self) -> Result<Direction, Failure> {
        let stray = match self.direction {
            DirectionArgument::Up => self.internal.map(|_| "--internal"),
            DirectionArgument::Down => self.interface.map(|_| "--interface"),
            DirectionArgument::Echo => {
                let router = self.router.map(|_| "--router");
                let interface = self.interface.map(|_| "--interface");
                router.or(interface).or(self.internal.map(|_| "--internal"))
            }
        };
        if let Some(flag) = stray {
            return Err(Failure::Usage(format!(
                "{flag} has no effect in this direction; remove it, or use --direction {}",
                if flag == "--internal" { "down" } else { "up" },
            )));
        }
        Ok(match (self.direction, self.router, self.internal) {
            (DirectionArgument::Up, Some(router), _) => Direction::Up {
                router,
                interface: self.interface.unwrap_or(1),
            },
            (DirectionArgument::Down, router, Some(internal)) => {
                Direction::Down { internal, router }
            }
            // clap requires the addresses of up and down.
            _ => Direction::Echo,
        })
    }
}

impl CommonArguments {
    /// Returns `count` identities, or with `None` one, or one per key of `--keys-file`. `--key-seed` overrides `seed`.
    pub(crate) fn identities(
        &self,
        count: Option<usize>,
        seed: Option<u64>,
    ) -> Result<Identities, Failure> {
        if let Some(path) = &self.keys_file {
            let mut identities = Identities::read_file(path)?;
            let count = count.unwrap_or(identities.len());
            if count > identities.len() {
                return Err(Failure::Usage(format!(
                    "{}: expected a key for each of {count} tunnels, got {}",
                    path.display(),
                    identities.len(),
                )));
            }
            identities.truncate(count);
            return Ok(identities);
        }
        let count = count.unwrap_or(1);
        match self.key_seed.or(seed) {
            Some(seed) => Ok(Identities::from_seed(seed, count)),
            None => Identities::random(count).map_err(|error| LoadError::Random(error).into()),
        }
    }

    /// Sets the options in a configuration.
    pub(crate) fn apply(&self, config: &mut LoadConfig) {
        config.allow_remote = self.allow_remote;
        config.isd_as = self.isd_as;
        config.source_ips = self.source_ip;
        config.catch_up = self.catch_up;
    }
}
